"""A video's sampled frames gathered into one array, for decoders that look themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np

from encoders.decoding.answers import UNUSABLE, DecodedFrame
from encoders.errors import CorruptMedia
from encoders.types import Film, VideoSummary

__all__ = ["film_of"]


async def film_of(decoded: AsyncGenerator[DecodedFrame | VideoSummary, None]) -> Film:
    """All frames in the order they come; the summary comes last. ``CorruptMedia`` when one of them is missing."""
    frames: list[DecodedFrame] = []
    summary: VideoSummary | None = None
    async with aclosing(decoded):
        async for item in decoded:
            if isinstance(item, VideoSummary):
                summary = item
            else:
                frames.append(item)
    if summary is None or not frames:
        raise CorruptMedia(UNUSABLE)
    return Film(
        np.stack([frame.pixels for frame in frames]),
        tuple(frame.time_seconds for frame in frames),
        tuple(frame.reason for frame in frames),
        summary.duration_seconds,
        summary.near_duplicates,
        summary.repeat_times_seconds,
        summary.scene_changes_seconds,
    )
