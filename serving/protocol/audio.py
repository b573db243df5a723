"""Wire schema of ``POST /v1/audio/transcriptions``."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from encoders.types import Transcript
from serving.languages import language_name

__all__ = ["TranscriptionRequest", "plain_json", "verbose_json"]


class TranscriptionRequest(BaseModel):
    """The form's fields besides ``file``, or with ``file_id``, ours, in its place. Numbers come as text, as forms
    have it.
    """

    model_config = ConfigDict(extra="forbid")
    model: StrictStr
    file_id: Annotated[StrictStr, Field(max_length=128)] | None = None
    language: Annotated[StrictStr, Field(max_length=32)] | None = None
    prompt: Annotated[StrictStr, Field(max_length=4000)] | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    timestamp_granularities: list[Literal["word", "segment"]] = ["segment"]
    # Meaningless for Whisper; OpenAI accepts it there too and answers in one piece.
    stream: bool = False


def _usage(transcript: Transcript) -> dict[str, Any]:
    """OpenAI counts started seconds."""
    return {"type": "duration", "seconds": math.ceil(transcript.duration_seconds)}


def plain_json(transcript: Transcript) -> dict[str, Any]:
    """The ``json`` form."""
    return {"text": transcript.text, "usage": _usage(transcript)}


def verbose_json(transcript: Transcript, granularities: frozenset[str]) -> dict[str, Any]:
    """The ``verbose_json`` form, with ``segments`` and ``words`` as asked for."""
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": language_name(transcript.language),
        "duration": transcript.duration_seconds,
        "text": transcript.text,
    }
    if "segment" in granularities:
        body["segments"] = [
            {
                "id": index,
                # OpenAI counts ``seek`` in frames of 10 ms from the start of the sound.
                "seek": round(segment.start_seconds * 100),
                "start": segment.start_seconds,
                "end": segment.end_seconds,
                "text": segment.text,
                "tokens": list(segment.tokens),
                "temperature": segment.temperature,
                "avg_logprob": segment.average_log_probability,
                "compression_ratio": segment.compression_ratio,
                "no_speech_prob": segment.no_speech_probability,
            }
            for index, segment in enumerate(transcript.segments)
        ]
    if "word" in granularities:
        body["words"] = [
            {"word": word.text.strip(), "start": word.start_seconds, "end": word.end_seconds}
            for segment in transcript.segments
            for word in segment.words
        ]
    body["usage"] = _usage(transcript)
    return body
