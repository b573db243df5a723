"""What is said and heard: how to transcribe and to speak, transcripts and their parts.

As ``encoders.types``, by which everybody has them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "LanguageGuess",
    "SpeakOptions",
    "Spoken",
    "TranscribeOptions",
    "Transcript",
    "TranscriptBegun",
    "TranscriptPart",
    "TranscriptSegment",
    "TranscriptWord",
    "VoiceActivity",
]


@dataclass(frozen=True, slots=True)
class VoiceActivity:
    """How speech is told from silence: from which probability on (0 to 1) something is speech, how long a silence
    ends a stretch of it, and how much is heard before and after each stretch.
    """

    threshold: float = 0.5
    silence_seconds: float = 2.0
    padding_seconds: float = 0.4


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """What a caller may ask of a transcription. ``language`` is ISO-639-1; ``None`` detects it.

    ``translate`` gives English whatever is spoken. Without ``words`` no word times are found, which is faster.
    ``activity`` ``None`` leaves it to the transcriber where speech is.
    """

    language: str | None = None
    prompt: str | None = None
    temperature: float = 0.0
    translate: bool = False
    words: bool = True
    activity: VoiceActivity | None = None


@dataclass(frozen=True, slots=True)
class TranscriptWord:
    """One spoken word with its times."""

    start_seconds: float
    end_seconds: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """A run of speech. ``words`` is empty when no word times were asked for."""

    start_seconds: float
    end_seconds: float
    text: str
    average_log_probability: float
    no_speech_probability: float
    compression_ratio: float
    temperature: float
    tokens: tuple[int, ...]
    words: tuple[TranscriptWord, ...]


@dataclass(frozen=True, slots=True)
class LanguageGuess:
    """A language (ISO-639-1) and how probable it is that it is spoken, in [0, 1]."""

    language: str
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. Silence gives no segments."""

    language: str
    duration_seconds: float
    segments: tuple[TranscriptSegment, ...]

    @property
    def text(self) -> str:
        """The segments' texts joined into one string, outer space removed."""
        return "".join(segment.text for segment in self.segments).strip()


@dataclass(frozen=True, slots=True)
class TranscriptBegun:
    """What is known of a transcript before its first segment."""

    language: str
    duration_seconds: float


TranscriptPart = TranscriptBegun | TranscriptSegment
"""What a transcription gives while it is under way: its beginning, then its segments."""


@dataclass(frozen=True, slots=True)
class SpeakOptions:
    """What is to be said and how. ``speed`` 1 is the voice's own pace; ``form`` is one of
    ``encoders.speech.sound_writer.FORMS``.
    """

    text: str
    speed: float = 1.0
    form: str = "mp3"


@dataclass(frozen=True, slots=True)
class Spoken:
    """The end of what was said: how many tokens the voice read, how many frames it made, and how long they are."""

    input_tokens: int
    output_tokens: int
    duration_seconds: float
