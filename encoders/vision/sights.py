"""Pictures asked for at different qualities, in one queue before one model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from encoders.types import EncodedImage, Pixels, Quality
from encoders.vision.encoder import VisionEncoder

__all__ = ["Sight", "SightEncoder"]


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A picture, RGB ``(height, width, 3)``, and how closely it is to be looked at."""

    pixels: Pixels
    quality: Quality


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    quality: Quality
    picture: Any


class SightEncoder:
    """A vision model as a ``BatchEncoder[Sight, ..., EncodedImage]``.

    One queue for all qualities, because ``run`` may be called by one thread only (captured CUDA graphs share their
    buffers); the quality is part of the bucket.
    """

    def __init__(self, model: VisionEncoder) -> None:
        self._at = {quality: model.at(quality) for quality in Quality}

    def prepare(self, items: Sequence[Sight]) -> list[_Prepared]:
        """Every picture as its quality wants it."""
        return [_Prepared(one.quality, self._at[one.quality].prepare((one.pixels,))[0]) for one in items]

    def bucket(self, prepared: _Prepared) -> Hashable:
        """The quality, and the model's own bucket."""
        return prepared.quality, self._at[prepared.quality].bucket(prepared.picture)

    def cost(self, prepared: _Prepared) -> int:
        """The model's own cost."""
        return self._at[prepared.quality].cost(prepared.picture)

    def run(self, batch: Sequence[_Prepared]) -> list[EncodedImage]:
        """The model at the batch's one quality."""
        return self._at[batch[0].quality].run([one.picture for one in batch]) if batch else []
