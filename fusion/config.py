"""Settings of fusion, built once in ``deploy`` and passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from encoders.config import BatchLimits
from encoders.types import MediaKind
from fusion.picture_cost import PictureCost

__all__ = ["BRIDGE_BATCHES", "BridgeConfig", "FusionConfig", "Levels", "NativeConfig"]

BRIDGE_BATCHES = BatchLimits(max_items=32, max_queued=512)


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """One bridge: its folder (``fusion.bridge_folder``, or a BLIP-2 checkpoint), and the name of the decoder that
    it must have been made for.

    ``device`` is ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``. ``revision`` is the one that results are
    kept under: other weights are refused; empty takes any.
    """

    folder: Path
    decoder: str
    device: str = "auto"
    threads: int = 2
    revision: str = ""
    batches: BatchLimits = BRIDGE_BATCHES


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """How much of a prompt media may take in the ``text`` strategy.

    With ``read_pictures`` what is written in pictures is part of it, and of that of soft tokens.
    Labels under ``min_label_probability`` are left out; those under ``sure_label_probability`` are written
    with "perhaps". Video frames carry at most ``max_frame_labels`` each.
    """

    media_token_budget: int = 1500
    max_labels: int = 5
    max_frame_labels: int = 3
    min_label_probability: float = 0.05
    sure_label_probability: float = 0.2
    read_pictures: bool = True


@dataclass(frozen=True, slots=True)
class Levels:
    """Something by how closely a picture is to be looked at: OpenAI's ``image_url.detail``."""

    low: int
    auto: int
    high: int

    def of(self, detail: str) -> int:
        """The one of ``low``, ``auto`` or ``high``."""
        return {"low": self.low, "high": self.high}.get(detail, self.auto)


@dataclass(frozen=True, slots=True)
class NativeConfig:
    """What a decoder that looks itself takes in: how many of each kind in one prompt, and what that costs of it.

    ``sides`` is how large pictures are shown at most, in pixels of their longer side; frames of videos are shown as
    at low detail.
    """

    limits: Mapping[MediaKind, int]
    cost: PictureCost
    sides: Levels = field(default_factory=lambda: Levels(512, 1024, 2048))
    sound_tokens_per_second: float = 25.0
