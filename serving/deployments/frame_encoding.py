"""A video's frames are looked at while later ones are still being decoded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from encoders.decoding.answers import UNUSABLE, DecodedFrame
from encoders.errors import CorruptMedia
from encoders.types import EncodedFrame, EncodedImage, EncodedVideo, Pixels, VideoSummary

__all__ = ["encode_frames"]

# Decoded frames wait here for the vision model: at most 1.8 MB each (768 x 768).
_MAX_AHEAD = 32


async def encode_frames(
    decoded: AsyncGenerator[DecodedFrame | VideoSummary, None],
    see: Callable[[Pixels], Awaitable[EncodedImage]],
) -> EncodedVideo:
    """``see`` every frame, at most 32 at a time, in the order they come; the summary comes last.

    When a frame fails or the caller is cancelled, decoding stops and frames that wait are dropped.
    """
    frames: list[EncodedFrame] = []
    ahead: deque[tuple[float, str, asyncio.Future[EncodedImage]]] = deque()
    summary: VideoSummary | None = None

    async def settle_oldest() -> None:
        time_seconds, reason, seen = ahead[0]
        image = await seen
        ahead.popleft()
        frames.append(EncodedFrame(time_seconds, reason, image.labels, image.embedding))

    try:
        async with aclosing(decoded):
            async for item in decoded:
                if isinstance(item, VideoSummary):
                    summary = item
                    continue
                if len(ahead) == _MAX_AHEAD:
                    await settle_oldest()
                ahead.append((item.time_seconds, item.reason, asyncio.ensure_future(see(item.pixels))))
        while ahead:
            await settle_oldest()
    finally:
        for _, _, seen in ahead:
            seen.cancel()
        await asyncio.gather(*(seen for _, _, seen in ahead), return_exceptions=True)
    if summary is None:
        raise CorruptMedia(UNUSABLE)
    return EncodedVideo(
        summary.duration_seconds,
        tuple(frames),
        summary.near_duplicates,
        summary.repeat_times_seconds,
        summary.scene_changes_seconds,
    )
