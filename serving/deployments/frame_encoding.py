"""A video's frames are looked at while later ones are still being decoded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

import numpy as np

from encoders.decoding.answers import UNUSABLE, DecodedFrame
from encoders.errors import CorruptMedia
from encoders.types import (
    EncodedFrame,
    EncodedImage,
    EncodedVideo,
    ImageTokens,
    Pixels,
    VideoSummary,
    VideoTokens,
)

__all__ = ["encode_frames", "see_all", "token_frames"]

_Seen = TypeVar("_Seen")

# Decoded frames wait here for the vision model: at most 1.8 MB each (768 x 768).
_MAX_AHEAD = 32


async def encode_frames(
    decoded: AsyncGenerator[DecodedFrame | VideoSummary, None],
    see: Callable[[Pixels], Awaitable[EncodedImage]],
) -> EncodedVideo:
    """Labels and embeddings of all frames. ``CorruptMedia`` when the summary is missing."""
    frames, summary = await see_all(decoded, see)
    return EncodedVideo(
        summary.duration_seconds,
        tuple(
            EncodedFrame(time_seconds, reason, image.labels, image.embedding)
            for time_seconds, reason, image in frames
        ),
        summary.near_duplicates,
        summary.repeat_times_seconds,
        summary.scene_changes_seconds,
    )


async def token_frames(
    decoded: AsyncGenerator[DecodedFrame | VideoSummary, None],
    see: Callable[[Pixels], Awaitable[ImageTokens]],
) -> VideoTokens:
    """Patch tokens of all frames, each seen whole. ``CorruptMedia`` when the summary or every frame is missing."""
    frames, summary = await see_all(decoded, see)
    if not frames:
        raise CorruptMedia(UNUSABLE)
    return VideoTokens(
        np.concatenate([seen.tokens[:1] for _, _, seen in frames]),
        tuple(time_seconds for time_seconds, _, _ in frames),
        tuple(reason for _, reason, _ in frames),
        summary.duration_seconds,
        summary.near_duplicates,
        summary.repeat_times_seconds,
        summary.scene_changes_seconds,
    )


async def see_all(
    decoded: AsyncGenerator[DecodedFrame | VideoSummary, None],
    see: Callable[[Pixels], Awaitable[_Seen]],
) -> tuple[list[tuple[float, str, _Seen]], VideoSummary]:
    """``see`` every frame, at most 32 at a time, in the order they come; the summary comes last.

    When a frame fails or the caller is cancelled, decoding stops and frames that wait are dropped.
    """
    frames: list[tuple[float, str, _Seen]] = []
    ahead: deque[tuple[float, str, asyncio.Future[_Seen]]] = deque()
    summary: VideoSummary | None = None

    async def settle_oldest() -> None:
        time_seconds, reason, seen = ahead[0]
        frames.append((time_seconds, reason, await seen))
        ahead.popleft()

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
    return frames, summary
