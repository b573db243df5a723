"""Settings of fusion, built once in ``deploy`` and passed in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FusionConfig"]


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
