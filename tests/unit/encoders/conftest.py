"""Media made on the spot, so that what a decoder should find is known exactly."""

from __future__ import annotations

import asyncio
import io
import struct
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_decoders import decoder, make_decoder
from PIL import Image

__all__ = ["decoder", "make_decoder"]  # fixtures


@pytest.fixture
def image_bytes() -> Callable[..., bytes]:
    """Encode a Pillow image or a colour of a given size."""

    def encode(image: Image.Image | tuple[int, int], kind: str = "PNG", **options: object) -> bytes:
        picture = image if isinstance(image, Image.Image) else Image.new("RGB", image, (200, 30, 60))
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def wav_bytes() -> Callable[..., bytes]:
    """A WAV file: a tone, or silence."""

    def encode(seconds: float, rate: int = 16000, channels: int = 1, hertz: float = 0) -> bytes:
        count = round(seconds * rate)
        data = bytes(2 * channels * count)
        if hertz:
            one = (12000 * np.sin(2 * np.pi * hertz * np.arange(count) / rate)).astype("<i2")
            data = np.repeat(one[:, None], channels, axis=1).tobytes()
        header = (b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, channels, rate, 2 * channels * rate)
        return struct.pack("<4sI4s4sIHHIIHH4sI", *header, 2 * channels, 16, b"data", len(data)) + data

    return encode


@pytest.fixture
def video_bytes() -> Callable[..., bytes]:
    """A video whose frame ``i``, shown from ``times[i]``, is a flat grey of value ``10 + 10 * i``.

    The sound is a tone from 0 to ``sound_seconds``; in the ``pause`` there are no packets at all.
    """

    def encode(
        times: Sequence[float],
        size: tuple[int, int] = (64, 48),
        container: str = "mp4",
        codec: str = "mpeg4",
        keyframe_every: int = 4,
        sound_seconds: float = 0.0,
        seekable: bool = True,
        pause: tuple[float, float] | None = None,
    ) -> bytes:
        buffer = io.BytesIO() if seekable else _Pipe()
        with av.open(buffer, "w", format=container) as out:
            video = out.add_stream(codec, rate=100)
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
            video.time_base = video.codec_context.time_base = Fraction(1, 1000)
            video.codec_context.gop_size = keyframe_every
            video.codec_context.max_b_frames = 0
            video.bit_rate = 2_000_000
            sound = out.add_stream("aac", rate=16000, layout="mono") if sound_seconds else None
            for index, time in enumerate(times):
                grey = np.full((size[1], size[0], 3), (10 + 10 * index) % 256, dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, "rgb24")
                frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
            if sound is not None:
                tone = np.sin(np.arange(round(sound_seconds * 16000)) / 5).astype(np.float32)[None] / 2
                until, again = (round(time * 16000) for time in pause or (sound_seconds, sound_seconds))
                for begin, part in ((0, tone[:, :until]), (again, tone[:, again:])):
                    if not part.size:
                        continue
                    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "fltp", "mono")
                    frame.sample_rate, frame.pts, frame.time_base = 16000, begin, Fraction(1, 16000)
                    out.mux(sound.encode(frame))
                out.mux(sound.encode(None))
        return buffer.getvalue()

    return encode


class _Pipe(io.RawIOBase):
    """Bytes that can only be appended, as a browser records them: no duration, no index."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def getvalue(self) -> bytes:
        return bytes(self._data)


@pytest.fixture
def worker_command(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """A fake decoder process: Python code that speaks (or breaks) the protocol by ``read`` and ``write``."""

    def command(code: str) -> tuple[str, ...]:
        script = tmp_path / "fake_worker.py"
        script.write_text(
            "import os, signal, socket, sys, time\n"
            "from encoders.decoding.source import open_source\n"
            "from encoders.decoding.wire import receive_job, write_message\n"
            "jobs = socket.socket(fileno=0)\n"
            "write = lambda header, *body: write_message(sys.stdout.buffer, header, *body)\n"
            "def read():\n"
            "    medium = None\n"
            "    while medium is None: job, medium = receive_job(jobs)\n"
            "    with open_source(medium) as file: data = file.read()\n"
            "    os.close(medium)\n"
            "    write({'begun': True})\n"
            "    return job, data\n" + code
        )
        return (sys.executable, "-P", "-s", str(script))

    return command


@pytest.fixture
async def eventually() -> Callable[[Callable[[], bool]], object]:
    """Wait until something holds; fails after ten seconds."""

    async def wait(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 - polls another process
                await asyncio.sleep(0.01)

    return wait
