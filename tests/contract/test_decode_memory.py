"""The longest and largest media through the decoder process: its own memory stays small, whatever is asked for."""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from encoders.config import DecodeLimits
from encoders.decoding.sandbox import DecodedFrame, MediaDecoder
from encoders.types import FrameSampling, SamplingMethod, VideoSummary

SECONDS = 300
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes of standing pictures, two frames a second, and silence."""
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream(
            "libx264", rate=2, options={"preset": "ultrafast", "crf": "35", "tune": "fastdecode"}
        )
        video.width, video.height, video.pix_fmt = 1920, 1080, "yuv420p"
        sound = out.add_stream("aac", rate=16000, layout="mono")
        rng = np.random.default_rng(0)
        for index in range(2 * SECONDS):
            if index % 100 == 0:
                small = rng.integers(0, 255, (9, 16, 3), dtype=np.uint8)
                picture = np.kron(small, np.ones((120, 120, 1), dtype=np.uint8))
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 2)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for second in range(SECONDS):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts, silence.time_base = 16000, second * 16000, Fraction(1, 16000)
            out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
    return path


@pytest.fixture
async def decoder() -> AsyncIterator[MediaDecoder]:
    made = MediaDecoder(DecodeLimits())
    yield made
    await made.aclose()


def private_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


@pytest.mark.parametrize("method", list(SamplingMethod))
async def test_five_minutes_of_full_hd(
    method: SamplingMethod, decoder: MediaDecoder, long_video: Path
) -> None:
    sampling = FrameSampling(
        method, max_frames=128, frames_per_second=0.5, drop_near_duplicates=False, max_side=1920
    )
    most = frames = 0
    with long_video.open("rb") as file:
        await decoder.probe(file)
        (pid,) = (process.pid for process in decoder._processes)
        done = asyncio.Event()

        async def watch() -> None:
            nonlocal most
            while not done.is_set():
                most = max(most, private_bytes(pid))
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        async for one in decoder.frames(file, sampling):
            if isinstance(one, DecodedFrame):
                assert one.pixels.shape == (1080, 1920, 3)
                frames += 1
            else:
                assert isinstance(one, VideoSummary)
                assert one.duration_seconds == pytest.approx(SECONDS, abs=1)
        done.set()
        await watching
        sound = await decoder.audio(file)
    print(f"\n{method}: {frames} frames, {most / 2**20:.0f} MiB")  # noqa: T201 - for whoever reads along
    assert frames >= 5
    assert most < 300 * MEBIBYTE
    assert abs(len(sound) - SECONDS * 16000) < 16000


async def test_a_long_file_is_not_copied(decoder: MediaDecoder, tmp_path: Path) -> None:
    """A hundred and fifty megabytes of sound: the process's own memory hardly grows."""
    path = tmp_path / "long.wav"
    seconds = 800
    size = seconds * 48000 * 4
    with path.open("wb") as file:
        facts = (b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 2, 48000, 192_000, 4, 16, b"data", size)
        file.write(struct.pack("<4sI4s4sIHHIIHH4sI", *facts))
        file.truncate(44 + size)  # silence that takes no room on the disk
    with path.open("rb") as file:
        await decoder.probe(file)
    (pid,) = (process.pid for process in decoder._processes)
    before = private_bytes(pid)
    with path.open("rb") as file:
        assert (await decoder.probe(file)).duration_seconds == seconds
        job = asyncio.create_task(decoder.audio(file))
        most = before
        while not job.done():
            most = max(most, private_bytes(pid))
            await asyncio.sleep(0.02)
    assert len(await job) == pytest.approx(seconds * 16000, abs=100)
    assert most - before < 30 * MEBIBYTE


async def _most_memory(decoder: MediaDecoder, job: asyncio.Task[object]) -> int:
    most = 0
    while not job.done():
        for process in decoder._processes:
            most = max(most, private_bytes(process.pid))
        await asyncio.sleep(0.01)
    await job
    return most


async def test_half_an_hour_of_sound_takes_little_memory(decoder: MediaDecoder, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    block = np.zeros((1, 16000 * 60), dtype=np.int16)
    block[0, :16000] = 3000 * np.sin(np.arange(16000) * 0.05)
    with av.open(str(path), "w", format="flac") as out:
        stream = out.add_stream("flac", rate=16000, layout="mono")
        for minute in range(30):
            frame = av.AudioFrame.from_ndarray(block, "s16", "mono")
            frame.sample_rate, frame.pts = 16000, minute * 960_000
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with path.open("rb") as file:
        job = asyncio.create_task(decoder.audio(file))
        assert await _most_memory(decoder, job) < 150 * MEBIBYTE
    assert len(job.result()) == 30 * 60 * 16000


async def test_very_large_pictures_take_bounded_memory(decoder: MediaDecoder) -> None:
    """Fifty megapixels with transparency: two copies at most, of four bytes a pixel."""
    buffer = io.BytesIO()
    Image.new("RGBA", (8000, 6200), (200, 30, 60, 128)).save(buffer, "PNG", compress_level=1)
    data = buffer.getvalue()
    job = asyncio.create_task(decoder.image(data, 768))
    assert await _most_memory(decoder, job) < 550 * MEBIBYTE
    assert job.result().pixels.shape == (595, 768, 3)
