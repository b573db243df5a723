"""Frames are looked at while later ones are decoded, in order, and nothing runs on after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest

from encoders.decoding.sandbox import DecodedFrame
from encoders.errors import CorruptMedia
from encoders.types import EncodedImage, Pixels, VideoSummary
from serving.deployments.frame_encoding import encode_frames


class FakeVideo:
    """Frames whose first pixel is their number."""

    def __init__(self, count: int, summary: bool = True, failure: Exception | None = None) -> None:
        self.count, self.summary, self.failure = count, summary, failure
        self.decoded = 0
        self.is_closed = False

    async def frames(self) -> AsyncGenerator[DecodedFrame | VideoSummary, None]:
        try:
            for number in range(self.count):
                self.decoded += 1
                yield DecodedFrame(float(number), "uniform", np.full((1, 1, 3), number, dtype=np.uint8))
                await asyncio.sleep(0)
            if self.failure is not None:
                raise self.failure
            if self.summary:
                yield VideoSummary(float(self.count), near_duplicates=2)
        finally:
            self.is_closed = True


async def see(pixels: Pixels) -> EncodedImage:
    await asyncio.sleep(0.001 * (int(pixels[0, 0, 0]) % 3))
    return EncodedImage((), pixels[0, 0].astype(np.float32), 1, 1)


async def test_order_is_kept_whatever_ends_first() -> None:
    video = FakeVideo(100)
    encoded = await encode_frames(video.frames(), see)
    assert [frame.time_seconds for frame in encoded.frames] == list(range(100))
    assert [int(frame.embedding[0]) for frame in encoded.frames] == list(range(100))
    assert (encoded.duration_seconds, encoded.near_duplicates) == (100.0, 2)


async def test_looking_begins_before_decoding_ends_and_does_not_lag_far_behind() -> None:
    video, go = FakeVideo(100), asyncio.Event()

    async def wait(pixels: Pixels) -> EncodedImage:
        await go.wait()
        return await see(pixels)

    encoding = asyncio.create_task(encode_frames(video.frames(), wait))
    await asyncio.sleep(0.05)
    assert video.decoded == 33  # 32 wait to be seen; decoding waits for them
    go.set()
    assert len((await encoding).frames) == 100


async def test_failures_and_cancellation_stop_both_sides() -> None:
    async def fail(pixels: Pixels) -> EncodedImage:
        raise CorruptMedia("a bad frame")

    video = FakeVideo(100)
    with pytest.raises(CorruptMedia, match="bad frame"):
        await encode_frames(video.frames(), fail)
    assert video.is_closed

    broken = FakeVideo(3, failure=CorruptMedia("breaks off"))
    with pytest.raises(CorruptMedia, match="breaks off"):
        await encode_frames(broken.frames(), see)

    with pytest.raises(CorruptMedia, match="no usable answer"):
        await encode_frames(FakeVideo(3, summary=False).frames(), see)

    seen: list[asyncio.Task[None] | None] = []

    async def hang(pixels: Pixels) -> EncodedImage:
        seen.append(asyncio.current_task())
        await asyncio.Event().wait()
        raise AssertionError

    video = FakeVideo(5)
    encoding = asyncio.create_task(encode_frames(video.frames(), hang))
    await asyncio.sleep(0.05)
    encoding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await encoding
    assert video.is_closed
    assert all(task is not None and task.cancelled() for task in seen)
