"""From a network's token vectors to one vector per text (Reimers and Gurevych 2019, Sentence-BERT, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["POOLINGS", "Pooling"]

Pooling = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Token vectors ``(texts, length, width)`` and mask ``(texts, length)`` (1: real) to ``(texts, width)``, float32.

Padding may be on either side, and padded places may hold anything, also NaN.
"""


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    kept = mask.bool().unsqueeze(-1)
    return hidden.float().where(kept, 0.0).sum(1) / kept.sum(1).clamp(min=1)


def _first(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _at(hidden, mask.int().argmax(dim=1))


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    # The last of equal largest values is wanted, and argmax gives the first.
    return _at(hidden, mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1))


def _largest(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.float().where(mask.bool().unsqueeze(-1), -float("inf")).amax(dim=1)


def _at(hidden: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The vector at one place of each text."""
    import torch

    return hidden[torch.arange(len(hidden), device=hidden.device), places].float()


POOLINGS: dict[str, Pooling] = {"mean": _mean, "cls": _first, "lasttoken": _last, "max": _largest}
"""By the names that sentence-transformers gives them."""
