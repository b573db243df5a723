"""Wire schema of ``POST /v1/audio/speech``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

__all__ = ["SpeechEvent", "SpeechRequest", "SpeechUsage", "VoiceReference"]

_Instructions = Annotated[StrictStr, Field(max_length=4096)]


class VoiceReference(BaseModel):
    """A voice by its id, as OpenAI's clients name voices of one's own."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[StrictStr, Field(min_length=1, max_length=64)]


class SpeechRequest(BaseModel):
    """What is to be said. ``instructions`` are accepted and, as with OpenAI's ``tts-1``, without effect."""

    model_config = ConfigDict(extra="forbid")
    model: StrictStr
    input: Annotated[StrictStr, Field(min_length=1, max_length=4096)]
    voice: Annotated[StrictStr, Field(min_length=1, max_length=64)] | VoiceReference
    instructions: _Instructions | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Field(strict=True, ge=0.25, le=4, allow_inf_nan=False)] = 1.0
    stream_format: Literal["sse", "audio"] = "audio"

    @property
    def voice_name(self) -> str:
        """The voice that is asked for."""
        return self.voice if isinstance(self.voice, str) else self.voice.id


class SpeechUsage(BaseModel):
    """Phonemes that were read, and frames of 12.5 ms that were made of them."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechEvent(BaseModel):
    """One event of streamed speech: more of the file in base64, or the end."""

    type: Literal["speech.audio.delta", "speech.audio.done"]
    audio: str | None = None
    usage: SpeechUsage | None = None
