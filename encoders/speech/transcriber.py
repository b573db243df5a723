"""Speech to text: what every transcriber offers, and what transcribers share.

Sound is mono float32 at 16 kHz in [-1, 1]. Silero's voice activity detector (the one faster-whisper carries) cuts
out what is not speech before Whisper hears it, so that silence is not hallucinated over; times are put back onto
the whole recording afterwards. Whisper: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak
Supervision" (log-mel windows of 30 s, encoder output of 50 tokens a second, the ladder of temperatures).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from encoders.errors import UnsupportedMedia
from encoders.types import (
    AudioTokens,
    LanguageGuess,
    Sound,
    TranscribeOptions,
    Transcript,
    TranscriptSegment,
    TranscriptWord,
    Vector,
    VoiceActivity,
)

__all__ = [
    "SAMPLES_PER_TOKEN",
    "SAMPLE_RATE",
    "SECONDS_PER_TOKEN",
    "WINDOW_SAMPLES",
    "Asked",
    "Span",
    "Transcriber",
    "TranscriptStream",
    "asked",
    "audio_tokens",
    "cut_out",
    "in_order",
    "joined",
    "language_guesses",
    "pieces",
    "put_back",
    "sentences",
    "shifted",
    "speech_spans",
    "windows",
]

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 30 * SAMPLE_RATE
SAMPLES_PER_TOKEN = 320
SECONDS_PER_TOKEN = SAMPLES_PER_TOKEN / SAMPLE_RATE

# At 0 a window that repeats itself or is improbable is tried again warmer, as in Whisper's paper (section 4.5).
_LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_SENTENCE_END = re.compile(r"[.?!。？！…][\"'”’)\]」』]*\s*$")  # noqa: RUF001 - other scripts' own marks
_SPECIAL_TOKEN = re.compile(r"<\|.*?\|>")


class TranscriptStream(Iterator[TranscriptSegment]):
    """Segments of one transcription, each as soon as it is ready. The work is done by whoever asks for the next.

    ``language`` (ISO-639-1) and ``language_probability`` (1 where the caller said the language, 0 where nothing was
    heard) are known from the start. ``close`` stops the work: at once between two segments; when another thread is
    waiting for one, after that one.
    """

    def __init__(
        self,
        language: str,
        language_probability: float,
        duration_seconds: float,
        segments: Iterator[TranscriptSegment],
    ) -> None:
        self.language = language
        self.language_probability = language_probability
        self.duration_seconds = duration_seconds
        self._segments = segments
        self._closed = False

    def __next__(self) -> TranscriptSegment:
        segment = None if self._closed else next(self._segments, None)
        if segment is None or self._closed:
            self.close()
            raise StopIteration
        return segment

    def close(self) -> None:
        """Stop. No further segment comes. May be called from any thread, and more than once."""
        self._closed = True
        close: Any = getattr(self._segments, "close", None)
        if close is not None:
            try:
                close()
            except ValueError:  # another thread is inside: its ``__next__`` sees the flag when it comes out
                return

    def __enter__(self) -> TranscriptStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transcript(self) -> Transcript:
        """All segments that are left, as one transcript."""
        with self:
            return Transcript(self.language, self.duration_seconds, tuple(self))


class Transcriber(Protocol):
    """A loaded speech model. Call it from one thread at a time; samples are float32 ``(n,)``, any length."""

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO-639 codes of the languages the model understands; ``("en",)`` for an English-only one."""
        ...

    def transcribe(self, samples: Sound, options: TranscribeOptions) -> Transcript:
        """What is said, with times. Raises ``UnsupportedMedia`` for what the model cannot do (see ``asked``)."""
        ...

    def stream(self, samples: Sound, options: TranscribeOptions) -> TranscriptStream:
        """The same, segment by segment. Options are checked at once, not at the first segment."""
        ...

    def detect_language(self, samples: Sound) -> tuple[LanguageGuess, ...]:
        """Languages by falling probability, from the first 30 s of speech. Empty when no speech is heard."""
        ...

    def encode(self, samples: Sound) -> AudioTokens:
        """The encoder's output over windows of 30 s, without the tokens of padding: 50 a second.

        No samples give no tokens and a ``pooled`` of zeros.
        """
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """Options as a transcriber takes them: checked, temperatures as a ladder, the prompt as plain words."""

    language: str | None
    prompt: str | None
    temperatures: tuple[float, ...]
    task: str
    words: bool
    activity: VoiceActivity | None = None


def asked(options: TranscribeOptions, languages: Sequence[str], translates: bool) -> Asked:
    """Check a caller's options against what the model knows.

    Special tokens written into the prompt (``<|endoftext|>``) are taken out: they would steer the decoder. Raises
    ``UnsupportedMedia`` for a language the model does not know, for translation by a model not trained for it, and
    for a temperature outside [0, 1].
    """
    if options.language is not None and options.language not in languages:
        known = (
            "this transcriber understands English only; use a multilingual one"
            if len(languages) == 1
            else "give an ISO-639-1 code such as 'en', or leave it out to have it detected"
        )
        raise UnsupportedMedia(
            f"The language '{options.language[:20]}' is not known to the transcriber: {known}."
        )
    if options.translate and not translates:
        raise UnsupportedMedia(
            "This transcriber cannot translate: it was not trained for it. Leave translation out, or use a "
            "multilingual model such as 'whisper-base'."
        )
    if not (math.isfinite(options.temperature) and 0 <= options.temperature <= 1):
        raise UnsupportedMedia("The temperature of a transcription must be between 0 and 1.")
    prompt = " ".join(_SPECIAL_TOKEN.sub(" ", options.prompt or "").split())
    return Asked(
        language=options.language,
        prompt=prompt or None,
        temperatures=_LADDER if options.temperature == 0 else (float(options.temperature),),
        task="translate" if options.translate else "transcribe",
        words=options.words,
        activity=options.activity,
    )


# -- voice activity ---------------------------------------------------------------------------------------

Span = dict[str, int]
"""``start`` and ``end`` of a stretch of speech, in samples, as faster-whisper's detector gives it."""


def speech_spans(
    samples: Sound, max_seconds: float = math.inf, activity: VoiceActivity | None = None
) -> list[Span]:
    """Where speech is: by faster-whisper's own settings unless told otherwise, which are ``VoiceActivity``'s too.

    With ``max_seconds`` longer stretches are cut at their pauses.
    """
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    if not len(samples):
        return []
    told = activity or VoiceActivity()
    wanted = VadOptions(
        threshold=told.threshold,
        max_speech_duration_s=max_seconds,
        min_silence_duration_ms=round(1000 * told.silence_seconds),
        speech_pad_ms=round(1000 * told.padding_seconds),
    )
    spans: list[Span] = get_speech_timestamps(samples, wanted)
    return spans


def cut_out(samples: Sound, spans: Sequence[Span]) -> Sound:
    """The speech alone, end to end."""
    return np.concatenate([samples[span["start"] : span["end"]] for span in spans])


def pieces(spans: Iterable[Span], max_samples: int = WINDOW_SAMPLES) -> Iterator[list[Span]]:
    """Consecutive spans gathered so that each group has at most ``max_samples`` of speech (or is one span)."""
    group: list[Span] = []
    gathered = 0
    for span in spans:
        length = span["end"] - span["start"]
        if group and gathered + length > max_samples:
            yield group
            group, gathered = [], 0
        group.append(span)
        gathered += length
    if group:
        yield group


def joined(groups: Iterable[Sequence[Span]]) -> Iterator[Span]:
    """Where each group lies in what ``cut_out`` gives for all of them."""
    start = 0
    for group in groups:
        end = start + sum(span["end"] - span["start"] for span in group)
        yield Span(start=start, end=end)
        start = end


def put_back(segments: Iterable[TranscriptSegment], spans: Sequence[Span]) -> Iterator[TranscriptSegment]:
    """Times in the cut-out speech as times in the whole recording. A word stays within one stretch of speech."""
    from faster_whisper.vad import SpeechTimestampsMap

    times = SpeechTimestampsMap(list(spans), SAMPLE_RATE)
    for segment in segments:
        words = tuple(_put_back_word(word, times) for word in segment.words)
        if words:
            start, end = words[0].start_seconds, words[-1].end_seconds
        else:
            start = times.get_original_time(segment.start_seconds)
            end = times.get_original_time(segment.end_seconds, is_end=True)
        yield replace(segment, start_seconds=start, end_seconds=end, words=words)


def _put_back_word(word: TranscriptWord, times: Any) -> TranscriptWord:
    index = times.get_chunk_index((word.start_seconds + word.end_seconds) / 2)
    return replace(
        word,
        start_seconds=times.get_original_time(word.start_seconds, index),
        end_seconds=times.get_original_time(word.end_seconds, index),
    )


# -- segments ---------------------------------------------------------------------------------------------


def in_order(segments: Iterable[TranscriptSegment], duration_seconds: float) -> Iterator[TranscriptSegment]:
    """Segments and words whose times never run backwards, overlap, or leave the recording.

    Whisper's times are guesses of attention: now and then a word begins before the last one ended.
    """
    reached = 0.0
    for segment in segments:
        start = _between(reached, segment.start_seconds, duration_seconds)
        words: list[TranscriptWord] = []
        for word in segment.words:
            begun = _between(words[-1].end_seconds if words else start, word.start_seconds, duration_seconds)
            ended = _between(begun, word.end_seconds, duration_seconds)
            words.append(replace(word, start_seconds=begun, end_seconds=ended))
        end = _between(words[-1].end_seconds if words else start, segment.end_seconds, duration_seconds)
        reached = end
        yield replace(segment, start_seconds=start, end_seconds=end, words=tuple(words))


def shifted(segment: TranscriptSegment, seconds: float) -> TranscriptSegment:
    """The same segment, so much later."""
    return replace(
        segment,
        start_seconds=segment.start_seconds + seconds,
        end_seconds=segment.end_seconds + seconds,
        words=tuple(
            replace(word, start_seconds=word.start_seconds + seconds, end_seconds=word.end_seconds + seconds)
            for word in segment.words
        ),
    )


def sentences(
    segment: TranscriptSegment, tokens: Callable[[str], tuple[int, ...]]
) -> Iterator[TranscriptSegment]:
    """A long segment cut after words that end a sentence; ``tokens`` gives a text's. Without words: whole."""
    begun: list[TranscriptWord] = []
    for word in segment.words:
        begun.append(word)
        if word is segment.words[-1] or _SENTENCE_END.search(word.text):
            text = "".join(one.text for one in begun)
            yield replace(
                segment,
                start_seconds=begun[0].start_seconds,
                end_seconds=begun[-1].end_seconds,
                text=text,
                tokens=tokens(text),
                words=tuple(begun),
            )
            begun = []
    if not segment.words and segment.text.strip():
        yield segment


def _between(least: float, value: float, most: float) -> float:
    return min(max(least, value), max(least, most))


# -- encoder output ---------------------------------------------------------------------------------------


def windows(samples: Sound) -> Iterator[tuple[Sound, int]]:
    """Windows of 30 s, the last one filled up with silence, and how many tokens of each are real."""
    for start in range(0, len(samples), WINDOW_SAMPLES):
        heard = samples[start : start + WINDOW_SAMPLES]
        tokens = math.ceil(len(heard) / SAMPLES_PER_TOKEN)
        yield np.pad(heard, (0, WINDOW_SAMPLES - len(heard))).astype(np.float32, copy=False), tokens


def audio_tokens(blocks: Sequence[Vector], width: int) -> AudioTokens:
    """Blocks of encoder tokens ``(n, width)`` as one result, with their L2-normalised mean."""
    tokens = np.concatenate([np.zeros((0, width), np.float32), *blocks]).astype(np.float32, copy=False)
    pooled = tokens.mean(0, dtype=np.float64) if len(tokens) else np.zeros(width)
    length = np.linalg.norm(pooled)
    pooled = pooled / length if length > 0 else pooled
    return AudioTokens(tokens, pooled.astype(np.float32), SECONDS_PER_TOKEN)


def language_guesses(probabilities: Iterable[tuple[str, float]]) -> tuple[LanguageGuess, ...]:
    """Languages by falling probability."""
    ordered = sorted(probabilities, key=lambda pair: -pair[1])
    return tuple(LanguageGuess(language, float(probability)) for language, probability in ordered)
