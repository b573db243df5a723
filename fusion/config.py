"""Settings of fusion, built once in ``deploy`` and passed in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encoders.config import BatchLimits

__all__ = ["BRIDGE_BATCHES", "BridgeConfig", "FusionConfig"]

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

    Labels under ``min_label_probability`` are left out; those under ``sure_label_probability`` are written
    with "perhaps". Video frames carry at most ``max_frame_labels`` each.
    """

    media_token_budget: int = 1500
    max_labels: int = 5
    max_frame_labels: int = 3
    min_label_probability: float = 0.05
    sure_label_probability: float = 0.2
