"""What a medium may cost its decoder process: processor time and memory, held by the kernel."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from PIL import Image

from encoders.config import DecodeLimits
from encoders.decoding.sandbox import MediaDecoder
from encoders.errors import DecodeTimeout, MediaTooLarge
from encoders.types import FrameSampling

LIMITS = DecodeLimits()


def pids(decoder: MediaDecoder) -> list[int]:
    return [process.pid for process in decoder._processes]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


async def test_processor_time_limit_is_per_job(make_decoder: Callable[..., MediaDecoder]) -> None:
    """The real process with two of its tasks replaced: frames never end, sound takes 0.4 seconds."""
    busy = (
        "import time\n"
        "from encoders.decoding import worker\n"
        "def spin(seconds):\n"
        "    start = time.process_time()\n"
        "    while time.process_time() - start < seconds: pass\n"
        "    yield from ()\n"
        "worker._warm_up()\n"
        "worker._warm_up = lambda: None\n"
        "worker.sample_frames = lambda *args: spin(1e9)\n"
        "worker.decode_audio = lambda *args: spin(0.4)\n"
        "worker.main()\n"
    )
    decoder = make_decoder(
        replace(LIMITS, max_cpu_seconds=1), command=(sys.executable, "-P", "-s", "-c", busy)
    )
    await decoder.audio(b"OggS")
    (pid,) = pids(decoder)
    for _ in range(6):  # together over the limit, each below
        await decoder.audio(b"OggS")
    assert pids(decoder) == [pid]
    with pytest.raises(DecodeTimeout, match="1 seconds of processor time"):
        await anext(decoder.frames(b"OggS", FrameSampling()))
    await decoder.audio(b"OggS")
    assert pids(decoder) != [pid]


async def test_memory_limit(make_decoder: Callable[..., MediaDecoder]) -> None:
    decoder = make_decoder(replace(LIMITS, max_memory_bytes=160 << 20))
    with pytest.raises(MediaTooLarge, match="160 MiB"):
        await decoder.image(png(Image.new("L", (7000, 7000))))
    assert (await decoder.image(png(Image.new("RGB", (200, 200))))).pixels.shape == (200, 200, 3)
