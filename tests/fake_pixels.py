"""Perception's three methods that engines ask for pixels and sound, over media made by numbers."""

from __future__ import annotations

import asyncio
import hashlib

import numpy as np
from tiny_models import photo

from encoders.types import Film, FrameSampling, MediaKind, Pixels, Sound
from serving.services import NativeMedium
from storage.types import MediaRef

__all__ = ["FakePixels", "medium", "native"]


def medium(number: int, tenant: str = "default") -> MediaRef:
    """A stored medium; its number says what is on it."""
    return MediaRef(
        f"file-{number}", tenant, hashlib.sha256(str(number).encode()).hexdigest(), 1000, "image/png"
    )


def native(
    number: int,
    kind: MediaKind = MediaKind.IMAGE,
    *,
    tenant: str = "default",
    max_side: int = 96,
    sampling: FrameSampling | None = None,
    times_seconds: tuple[float, ...] = (),
) -> NativeMedium:
    """As the gateway makes them: the content id knows the tenant, the content and every parameter."""
    what = repr((tenant, number, kind, max_side, sampling, times_seconds))
    return NativeMedium(
        hashlib.sha256(what.encode()).hexdigest(),
        medium(number, tenant),
        kind,
        max_side,
        sampling,
        times_seconds,
    )


class FakePixels:
    """Gives out smooth photos, films of them with a frame a second, and tones.

    Knobs: ``failure`` is raised, ``pause_seconds`` before each answer. Counts in ``calls`` and ``cancelled``.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.pause_seconds = 0.0
        self.calls: list[str] = []
        self.cancelled = 0

    async def picture(self, media: MediaRef, max_side: int) -> Pixels:
        await self._called("picture")
        return photo(max_side, max_side * 3 // 4, _number(media))

    async def film(self, media: MediaRef, sampling: FrameSampling) -> Film:
        await self._called("film")
        count, side = sampling.max_frames, sampling.max_side
        frames = np.stack([photo(side, side, 100 * _number(media) + index) for index in range(count)])
        times = tuple(index + 0.5 for index in range(count))
        return Film(frames, times, ("uniform",) * count, float(count))

    async def sound(self, media: MediaRef) -> Sound:
        await self._called("sound")
        steps = np.arange(16_000, dtype=np.float32)
        sound: Sound = np.sin(steps * (0.02 + 0.01 * _number(media))).astype(np.float32)
        return sound

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        try:
            await asyncio.sleep(self.pause_seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure


def _number(media: MediaRef) -> int:
    return int(media.id.removeprefix("file-"))
