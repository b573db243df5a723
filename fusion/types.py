"""What fusion takes and gives: everything perceived of one medium, and the prompt text made of it."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.types import EncodedImage, EncodedVideo, MediaInfo, TextLine, Transcript

__all__ = ["FusedBlock", "PerceivedMedium"]


@dataclass(frozen=True, slots=True)
class PerceivedMedium:
    """One medium of a prompt with what the encoders said of it; what does not apply is ``None`` or empty."""

    id: str
    info: MediaInfo
    image: EncodedImage | None = None
    text_lines: tuple[TextLine, ...] = ()
    video: EncodedVideo | None = None
    transcript: Transcript | None = None


@dataclass(frozen=True, slots=True)
class FusedBlock:
    """What one medium became in the prompt: its text, how many tokens that is, and what was cut to fit."""

    text: str
    tokens: int
    cut: tuple[str, ...] = ()
