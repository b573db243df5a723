"""What a request may change about how its media are perceived."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.types import FrameSampling, TranscribeOptions

__all__ = ["AS_SET", "PerceiveOptions"]


@dataclass(frozen=True, slots=True)
class PerceiveOptions:
    """How videos are sampled and sound is transcribed; ``None`` is what the platform is set to."""

    sampling: FrameSampling | None = None
    transcription: TranscribeOptions | None = None


AS_SET = PerceiveOptions()
"""As the platform is set."""
