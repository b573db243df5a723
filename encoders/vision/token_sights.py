"""Pictures whose patch tokens are asked for, in one queue before one model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from encoders.errors import ModelUnavailable
from encoders.types import ImageTokens, Pixels
from encoders.vision.encoder import tokens_of
from encoders.vision.tiles import TilePlan

__all__ = ["TokenSight", "TokenSightEncoder"]


@dataclass(frozen=True, slots=True, eq=False)
class TokenSight:
    """A picture, RGB ``(height, width, 3)``, and how many views of it are wanted: the whole, and tiles."""

    pixels: Pixels
    views: int


class TokenSightEncoder:
    """A vision model as a ``BatchEncoder[TokenSight, TokenSight, ImageTokens]``."""

    def __init__(self, model: Any) -> None:
        """``ModelUnavailable`` when the model gives no patch tokens."""
        side = tokens_of(model)
        if side is None:
            raise ModelUnavailable(
                "The vision model that a bridge is to take tokens from has none; choose a vision transformer."
            )
        self._model = side

    def prepare(self, items: Sequence[TokenSight]) -> list[TokenSight]:
        """As they are: the model resizes in its own pass, which is much shorter than looking."""
        return list(items)

    def bucket(self, prepared: TokenSight) -> Hashable:
        """How many views there may be."""
        return prepared.views if self._model.takes_tiles else 1

    def cost(self, prepared: TokenSight) -> int:
        """The most views there may be."""
        return prepared.views if self._model.takes_tiles else 1

    def run(self, batch: Sequence[TokenSight]) -> list[ImageTokens]:
        """Tokens of every picture."""
        if not batch:
            return []
        # A model that reads pictures at their own shape has one view, whatever is wanted.
        tiles = TilePlan(max_tiles=batch[0].views - 1 if self._model.takes_tiles else 0)
        return list(self._model.tokens([one.pixels for one in batch], tiles))
