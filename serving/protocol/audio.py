"""Wire schemas of ``POST /v1/audio/transcriptions`` and ``POST /v1/audio/translations``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from encoders.types import VoiceActivity
from serving.errors import InvalidRequest

__all__ = [
    "ChunkingStrategy",
    "TranscriptForm",
    "Transcription",
    "TranscriptionEvent",
    "TranscriptionRequest",
    "Translation",
    "TranslationRequest",
]

TranscriptForm = Literal["json", "text", "srt", "verbose_json", "vtt"]

_FileId = Annotated[StrictStr, Field(max_length=128)]
_Prompt = Annotated[StrictStr, Field(max_length=4000)]
_Temperature = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Milliseconds = Annotated[int, Field(ge=0, le=10_000)]

_UNSUPPORTED = "unsupported_parameter"
_NO_SPEAKERS = "The transcriber does not tell speakers apart"
_NOT_OFFERED = {
    "include": "The transcriber tells how probable segments and words are, not tokens: 'logprobs' cannot be "
    "included. With 'response_format' 'verbose_json' every segment has its 'avg_logprob'.",
    "known_speaker_names": f"{_NO_SPEAKERS}: leave 'known_speaker_names' out.",
    "known_speaker_references": f"{_NO_SPEAKERS}: leave 'known_speaker_references' out.",
    "languages": "The transcriber takes one language or finds it out: give 'language', or leave it out.",
    "keywords": "The transcriber takes no keywords: write them into 'prompt'.",
}


class ChunkingStrategy(BaseModel):
    """OpenAI's ``server_vad``: how speech is told from silence."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["server_vad"]
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    silence_duration_ms: _Milliseconds = 200
    prefix_padding_ms: _Milliseconds = 300

    def activity(self) -> VoiceActivity:
        """The same as transcribers take it. They hear as much after a stretch of speech as before it."""
        return VoiceActivity(self.threshold, self.silence_duration_ms / 1000, self.prefix_padding_ms / 1000)


class TranslationRequest(BaseModel):
    """The form's fields besides ``file``, or with ``file_id``, ours, in its place. Numbers come as text, as forms
    have it.
    """

    model_config = ConfigDict(extra="forbid")
    model: StrictStr
    file_id: _FileId | None = None
    prompt: _Prompt | None = None
    response_format: TranscriptForm = "json"
    temperature: _Temperature = 0.0


class TranscriptionRequest(BaseModel):
    """As ``TranslationRequest``, with what only a transcription has.

    The fields of OpenAI's that other models than Whisper have are known, to be refused with the reason.
    """

    model_config = ConfigDict(extra="forbid")
    model: StrictStr
    file_id: _FileId | None = None
    language: Annotated[StrictStr, Field(max_length=32)] | None = None
    prompt: _Prompt | None = None
    response_format: TranscriptForm | Literal["diarized_json"] = "json"
    temperature: _Temperature = 0.0
    timestamp_granularities: list[Literal["word", "segment"]] = ["segment"]
    stream: bool | None = False
    chunking_strategy: Literal["auto"] | ChunkingStrategy | None = None
    include: list[Literal["logprobs"]] = []
    known_speaker_names: list[str] | None = None
    known_speaker_references: list[str] | None = None
    languages: list[str] | None = None
    keywords: list[str] | None = None

    def refuse_what_is_not_offered(self) -> None:
        """Raise ``InvalidRequest`` for what the transcriber cannot do, and for what does not go together."""
        for name, reason in _NOT_OFFERED.items():
            if getattr(self, name):
                raise InvalidRequest(reason, name, _UNSUPPORTED)
        if self.response_format == "diarized_json":
            raise InvalidRequest(
                f"{_NO_SPEAKERS}: instead of 'diarized_json' ask for 'verbose_json'.",
                "response_format",
                _UNSUPPORTED,
            )
        if self.timestamp_granularities != ["segment"] and self.response_format != "verbose_json":
            raise InvalidRequest(
                "'timestamp_granularities' needs 'response_format' to be 'verbose_json'.",
                "timestamp_granularities",
            )
        if self.stream and self.response_format in ("srt", "vtt"):
            raise InvalidRequest(
                f"'{self.response_format}' does not come as events: leave 'stream' out, or ask for "
                "'verbose_json', whose events have times.",
                "stream",
            )


class DurationUsage(BaseModel):
    """Started seconds of sound."""

    type: Literal["duration"]
    seconds: int


class Word(BaseModel):
    """A word with its times in seconds."""

    word: str
    start: float
    end: float


class Segment(BaseModel):
    """A run of speech; ``seek`` is in frames of 10 ms."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class Translation(BaseModel):
    """The ``json`` form, and what ``verbose_json`` adds to it."""

    text: str
    usage: DurationUsage
    manymodal: dict[str, object]
    task: Literal["transcribe", "translate"] | None = None
    language: str | None = None
    duration: float | None = None
    segments: list[Segment] | None = None


class Transcription(Translation):
    """As ``Translation``, with words where they were asked for."""

    words: list[Word] | None = None


class TranscriptionEvent(BaseModel):
    """One event of a streamed transcription: more text, a segment with times, or the end."""

    type: Literal["transcript.text.delta", "transcript.text.segment", "transcript.text.done"]
    delta: str | None = None
    text: str | None = None
    id: str | None = None
    start: float | None = None
    end: float | None = None
    speaker: str | None = None
    words: list[Word] | None = None
    language: str | None = None
    duration: float | None = None
    usage: DurationUsage | None = None
    manymodal: dict[str, object] | None = None
