"""Qualities share a queue and a model's thread, but no batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from encoders.batching.micro_batcher import MicroBatcher
from encoders.config import BatchLimits
from encoders.types import EncodedImage, Pixels, Quality
from encoders.vision.sights import Sight, SightEncoder


class FakeVision:
    """Says of every picture how closely it looked, and remembers its batches."""

    def __init__(self, batches: list[tuple[Quality, int]], quality: Quality = Quality.FAST) -> None:
        self.batches, self.quality = batches, quality

    def at(self, quality: Quality) -> FakeVision:
        return FakeVision(self.batches, quality)

    def encode(self, images: Sequence[Pixels], quality: Quality | None = None) -> tuple[EncodedImage, ...]:
        return tuple(self.run(self.prepare(images)))

    def prepare(self, items: Sequence[Pixels]) -> list[Pixels]:
        return list(items)

    def bucket(self, prepared: Pixels) -> tuple[int, ...]:
        return prepared.shape

    def cost(self, prepared: Pixels) -> int:
        return 7 if self.quality is Quality.BEST else 1

    def run(self, batch: Sequence[Pixels]) -> list[EncodedImage]:
        self.batches.append((self.quality, len(batch)))
        width = 2 if self.quality is Quality.BEST else 1
        return [EncodedImage((), one[0, 0].astype(np.float32), width, 0) for one in batch]


async def test_each_picture_is_looked_at_as_asked() -> None:
    batches: list[tuple[Quality, int]] = []
    encoder = SightEncoder(FakeVision(batches))
    batcher = MicroBatcher(encoder, BatchLimits(max_items=8, max_wait_seconds=0.05))
    pictures = [np.full((1 + index % 2, 1, 3), index, dtype=np.uint8) for index in range(16)]
    asked = [
        Sight(picture, Quality.BEST if index % 3 == 0 else Quality.FAST)
        for index, picture in enumerate(pictures)
    ]
    seen = await asyncio.gather(*(batcher.submit([one]) for one in asked))
    await batcher.aclose()
    for index, (one, wanted) in enumerate(zip(seen, asked, strict=True)):
        assert one[0].embedding[0] == index
        assert one[0].width == (2 if wanted.quality is Quality.BEST else 1)
    assert sum(count for quality, count in batches if quality is Quality.BEST) == 6
    assert encoder.cost(encoder.prepare(asked[:1])[0]) == 7
    assert encoder.run([]) == []
