"""Settings of the encoders, built once in ``deploy`` and passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DecodeLimits", "EncoderConfig"]


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits checked on headers first, then enforced while decoding in the sandbox process."""

    max_pixels: int = 50_000_000
    max_audio_seconds: float = 1800.0
    max_video_seconds: float = 300.0
    max_audio_channels: int = 8
    max_cpu_seconds: int = 60
    max_wall_seconds: float = 120.0
    max_memory_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Which models serve each task, where their prepared files lie, and how they run.

    With two ``decoder_processes`` one slow file does not hold up the next.
    """

    models_dir: Path
    vision_model: str = "efficientnet-lite2"
    speech_model: str = "whisper-base"
    text_model: str = "all-minilm-l6-v2"
    ocr_model: str = "rapidocr"
    threads: int = 2
    decoder_processes: int = 2
    max_batch_size: int = 32
    max_batch_wait_seconds: float = 0.005
    max_queued: int = 256
    limits: DecodeLimits = field(default_factory=DecodeLimits)
