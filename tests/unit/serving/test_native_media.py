"""Pixels for decoders that look themselves: in vLLM's forms, decoded once, bounded, stopped with their readers."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fake_pixels import FakePixels, native

from encoders.errors import CorruptMedia
from encoders.types import Film, FrameSampling, MediaKind, Pixels
from serving.engines.native_media import NativeMedia
from serving.errors import AttachmentRefused, PerceptionTimeout
from storage.types import MediaRef

SAMPLING = FrameSampling(max_frames=4, max_side=32)


def made(pixels: FakePixels, cache_bytes: int = 1 << 20, timeout_seconds: float = 5.0) -> NativeMedia:
    return NativeMedia(pixels, cache_bytes, timeout_seconds)


async def test_forms() -> None:
    pixels = FakePixels()
    video = native(2, MediaKind.VIDEO, sampling=SAMPLING)
    some = native(2, MediaKind.VIDEO, sampling=SAMPLING, times_seconds=(1.5, 3.5))
    frame = native(2, sampling=SAMPLING, times_seconds=(2.5,))
    film = await pixels.film(video.media, SAMPLING)
    asked = (native(1), video, some, frame, native(3, MediaKind.AUDIO))
    picture, (frames, facts), (two, of_two), one, (sound, hertz) = await made(pixels).decoded(asked)
    assert np.array_equal(np.asarray(picture), await pixels.picture(native(1).media, 96))
    assert np.array_equal(frames, film.frames)
    assert facts["frames_indices"] == [500, 1500, 2500, 3500]
    assert [index / facts["fps"] for index in facts["frames_indices"]] == list(film.times_seconds)
    assert (facts["total_num_frames"], facts["duration"], facts["do_sample_frames"]) == (4000, 4.0, False)
    assert np.array_equal(two, film.frames[[1, 3]])
    assert of_two["frames_indices"] == [1500, 3500]
    assert np.array_equal(np.asarray(one), film.frames[2])
    assert (sound.shape, hertz) == ((16_000,), 16_000)


async def test_each_is_decoded_once_at_the_same_time_and_afterwards() -> None:
    pixels = FakePixels()
    pixels.pause_seconds = 0.01
    media = made(pixels)
    frames = tuple(native(2, sampling=SAMPLING, times_seconds=(time,)) for time in (0.5, 1.5))
    await asyncio.gather(media.decoded((native(1), *frames)), media.decoded((native(1),)))
    await media.decoded((native(1), *frames))
    assert sorted(pixels.calls) == ["film", "picture"]
    await media.decoded((native(1, max_side=64), native(1, tenant="other")))
    assert len(pixels.calls) == 4


async def test_what_is_kept_is_bounded() -> None:
    pixels = FakePixels()
    media = made(pixels, cache_bytes=2 * 96 * 72 * 3)
    for number in (1, 2, 3, 1):
        await media.decoded((native(number),))
    assert len(pixels.calls) == 4
    await media.decoded((native(3), native(1)))
    assert len(pixels.calls) == 4
    large = native(9, max_side=512)
    await media.decoded((large,))
    await media.decoded((large, native(1)))
    assert len(pixels.calls) == 6


async def test_what_is_kept_does_not_look_into_the_memory_it_came_in() -> None:
    """Ray gives out views of its object store, which holds what anybody still looks at."""
    store = np.zeros((2, 8, 8, 3), np.uint8)

    class Store(FakePixels):
        async def picture(self, media: MediaRef, max_side: int) -> Pixels:
            self.calls.append("picture")
            return store[0]

        async def film(self, media: MediaRef, sampling: FrameSampling) -> Film:
            self.calls.append("film")
            return Film(store, (0.5, 1.5), ("uniform", "uniform"), 2.0)

    pixels = Store()
    media = made(pixels)
    asked = (native(1), native(2, MediaKind.VIDEO, sampling=SAMPLING))
    await media.decoded(asked)
    store += 255
    picture, (frames, _) = await media.decoded(asked)
    assert sorted(pixels.calls) == ["film", "picture"]
    assert not np.asarray(picture).any()
    assert not frames.any()


async def test_failures_and_limits_of_time() -> None:
    pixels = FakePixels()
    pixels.failure = CorruptMedia("Damaged.")
    media = made(pixels, timeout_seconds=60.0)
    with pytest.raises(CorruptMedia):
        await media.decoded((native(1),))
    pixels.failure = None
    assert len(await media.decoded((native(1),))) == 1
    pixels.pause_seconds = 60.0
    with pytest.raises(PerceptionTimeout):
        await made(pixels, timeout_seconds=0.01).decoded((native(1), native(2)))
    await asyncio.sleep(0)
    assert pixels.cancelled == 2


async def test_one_failure_stops_the_others() -> None:
    pixels = FakePixels()
    pixels.pause_seconds = 60.0
    no_frames = native(2, MediaKind.VIDEO)
    with pytest.raises(AttachmentRefused):
        await made(pixels).decoded((native(1), no_frames))
    await asyncio.sleep(0)
    assert pixels.cancelled == 1


async def test_whoever_is_cancelled_leaves_nothing_running_but_others_work() -> None:
    pixels = FakePixels()
    pixels.pause_seconds = 0.05
    media = made(pixels)
    leaving = asyncio.create_task(media.decoded((native(1), native(2))))
    staying = asyncio.create_task(media.decoded((native(1),)))
    while len(pixels.calls) < 2:  # noqa: ASYNC110 a fake that is asked, not one that tells
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert len(await staying) == 1
    assert (pixels.cancelled, len(pixels.calls)) == (1, 2)


async def test_an_engine_without_perception() -> None:
    with pytest.raises(AttachmentRefused):
        await NativeMedia(None, 1, 1.0).decoded((native(1),))


async def test_a_frame_that_is_not_there() -> None:
    with pytest.raises(AttachmentRefused):
        await made(FakePixels()).decoded((native(2, sampling=SAMPLING, times_seconds=(2.4,)),))
