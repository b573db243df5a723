"""What a request may change about how its media are perceived."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.types import FrameSampling, Quality, TranscribeOptions

__all__ = ["AS_SET", "PerceiveOptions"]


@dataclass(frozen=True, slots=True)
class PerceiveOptions:
    """How videos are sampled, sound is transcribed and pictures are looked at; ``None`` is what the platform is set
    to. ``whole``: nothing may be lacking (``serving.degradation``).
    """

    sampling: FrameSampling | None = None
    transcription: TranscribeOptions | None = None
    quality: Quality | None = None
    whole: bool = True


AS_SET = PerceiveOptions()
"""As the platform is set."""
