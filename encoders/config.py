"""Settings of the encoders, built once in ``deploy`` and passed in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from encoders.types import Quality

__all__ = [
    "MODERATION_BATCHES",
    "TEXT_BATCHES",
    "TOKEN_BATCHES",
    "VARIANT_MEMORY_BYTES",
    "VISION_BATCHES",
    "BatchLimits",
    "DecodeLimits",
    "EncoderConfig",
]


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits checked on headers first, then enforced while decoding in the sandbox process.

    With ``process_per_medium`` each medium is decoded by a process of its own, so that one that takes its decoder
    over sees no other; that costs some milliseconds of processor time each.
    """

    max_pixels: int = 50_000_000
    max_audio_seconds: float = 1800.0
    max_video_seconds: float = 300.0
    max_audio_channels: int = 8
    max_cpu_seconds: int = 60
    max_wall_seconds: float = 120.0
    max_memory_bytes: int = 1 << 30
    process_per_medium: bool = True


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How a micro-batcher gathers. ``max_cost`` is in the encoder's own measure (tokens, pixels); 0: no budget.

    ``max_wait_seconds`` is how long an idle model waits for company; a busy one gathers while it runs anyway.
    """

    max_items: int = 32
    max_cost: int = 0
    max_wait_seconds: float = 0.0
    max_queued: int = 256

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for limits under which nothing could run."""
        if self.max_items < 1 or self.max_queued < 1:
            raise ValueError("max_items and max_queued must be at least 1")
        if self.max_cost < 0 or not 0 <= self.max_wait_seconds < math.inf:
            raise ValueError("max_cost and max_wait_seconds must not be negative")


TEXT_BATCHES = BatchLimits(max_items=64, max_cost=2048, max_queued=4096)  # half a second on two cores
VISION_BATCHES = BatchLimits(max_items=32, max_queued=512)
MODERATION_BATCHES = BatchLimits(max_items=64, max_cost=12_800, max_queued=4096)  # words; a tenth of a second
VARIANT_MEMORY_BYTES = 2 << 30
TOKEN_BATCHES = BatchLimits(max_items=16, max_queued=256)  # patch tokens are a megabyte or more for a picture


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Which models serve each task, where their prepared files lie, and how they run.

    With two ``decoder_processes`` one slow file does not hold up the next. ``device`` is ``auto`` (a GPU where
    there is one), ``cpu`` or ``cuda``; ``compiled`` runs hub models as compiled CUDA graphs (minutes of start for
    more speed). ``max_memory_bytes`` is the budget that the models' declared memory must fit into; ``None``: what
    the machine (or the container) has. ``revisions`` are those that results are kept under, by model: other weights
    are refused. ``token_model`` is the vision model whose patch tokens a bridge takes; ``None``: there is no
    bridge, and nothing is loaded for one. The models for moderation and the voice are loaded
    when they are first asked. ``text_variants`` are further text models, which take turns in
    ``variant_memory_bytes``.
    """

    models_dir: Path
    vision_model: str = "efficientnet-lite2"
    speech_model: str = "whisper-base"
    text_model: str = "all-minilm-l6-v2"
    ocr_model: str = "rapidocr"
    token_model: str | None = None
    moderation_text_model: str | None = None
    moderation_image_model: str | None = None
    voice_model: str | None = None
    text_variants: tuple[str, ...] = ()
    variant_memory_bytes: int = VARIANT_MEMORY_BYTES
    threads: int = 2
    device: str = "auto"
    quality: Quality = Quality.FAST
    compiled: bool = False
    decoder_processes: int = 2
    max_memory_bytes: int | None = None
    revisions: Mapping[str, str] = field(default_factory=dict)
    text_batches: BatchLimits = TEXT_BATCHES
    vision_batches: BatchLimits = VISION_BATCHES
    token_batches: BatchLimits = TOKEN_BATCHES
    moderation_batches: BatchLimits = MODERATION_BATCHES
    limits: DecodeLimits = field(default_factory=DecodeLimits)
