"""What fusion takes and gives: everything perceived of one medium, and the prompt text made of it."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.types import EncodedImage, EncodedVideo, MediaInfo, TextLine, Transcript, Vector

__all__ = ["FusedBlock", "PerceivedMedium", "SoftTokens"]


@dataclass(frozen=True, slots=True)
class SoftTokens:
    """Prompt embeddings of one medium, in the width of the decoder they were made for.

    ``vectors`` is float32 ``(pieces, tokens, width)``: a piece is a view of a picture, a frame of a video or a
    stretch of sound. ``times_seconds`` is when each piece begins, ``reasons`` why each frame was sampled; both are
    empty for a picture. ``decoder`` names the decoder whose width and meaning they have: no other may be given
    them. The last two are of ``encoders.types.VideoSummary``.
    """

    vectors: Vector
    decoder: str
    times_seconds: tuple[float, ...] = ()
    reasons: tuple[str, ...] = ()
    duration_seconds: float | None = None
    near_duplicates: int = 0
    repeat_times_seconds: tuple[float, ...] = ()
    scene_changes_seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PerceivedMedium:
    """One medium of a prompt with what the encoders said of it; what does not apply is ``None`` or empty."""

    id: str
    info: MediaInfo
    image: EncodedImage | None = None
    text_lines: tuple[TextLine, ...] = ()
    video: EncodedVideo | None = None
    transcript: Transcript | None = None
    soft: SoftTokens | None = None

    @property
    def duration_seconds(self) -> float | None:
        """How long it is: by its header, else (live recordings) as it was found to be when perceived."""
        for known in (self.info, self.video, self.soft, self.transcript):
            if known is not None and known.duration_seconds is not None:
                return known.duration_seconds
        return None


@dataclass(frozen=True, slots=True)
class FusedBlock:
    """What one medium became in the prompt: its text, how many tokens that is, and what was cut to fit."""

    text: str
    tokens: int
    cut: tuple[str, ...] = ()
