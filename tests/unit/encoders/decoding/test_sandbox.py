"""The decoder process: bounded, replaceable, and unable to do anything but decode."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from encoders.config import DecodeLimits
from encoders.decoding import wire
from encoders.decoding.sandbox import DecodedFrame, MediaDecoder
from encoders.errors import (
    CorruptMedia,
    DecodeTimeout,
    EncoderOverloaded,
    MediaTooLarge,
    UnsupportedMedia,
)
from encoders.types import FrameSampling, MediaInfo, MediaKind, VideoSummary

LIMITS = DecodeLimits()
Encode = Callable[..., bytes]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
ROOT = Path(__file__).resolve().parents[4]


def pids(decoder: MediaDecoder) -> list[int]:
    return [process.pid for process in decoder._processes]


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_probe_image_audio_frames(
    decoder: MediaDecoder, image_bytes: Encode, wav_bytes: Encode, video_bytes: Encode
) -> None:
    picture = image_bytes((40, 20))
    assert await decoder.probe(picture) == MediaInfo(MediaKind.IMAGE, "image/png", 40, 20)
    image = await decoder.image(picture, max_side=10)
    assert (image.pixels.shape, image.width, image.height) == ((5, 10, 3), 40, 20)
    assert (image.pixels == (200, 30, 60)).all()

    samples = await decoder.audio(wav_bytes(1.0, hertz=300))
    assert (samples.dtype, samples.shape) == (np.float32, (16000,))
    info = await decoder.probe(wav_bytes(1.0))
    assert (info.kind, info.content_type, info.duration_seconds) == (MediaKind.AUDIO, "audio/wav", 1.0)

    sampled = [
        one async for one in decoder.frames(video_bytes([0, 0.5, 1.0, 1.5]), FrameSampling(max_frames=2))
    ]
    first, second, summary = sampled
    assert isinstance(first, DecodedFrame)
    assert isinstance(second, DecodedFrame)
    assert isinstance(summary, VideoSummary)
    assert first.pixels.shape == second.pixels.shape == (48, 64, 3)
    assert first.time_seconds < second.time_seconds < summary.duration_seconds


async def test_typed_errors_cross_the_pipe(
    decoder: MediaDecoder, image_bytes: Encode, wav_bytes: Encode
) -> None:
    with pytest.raises(CorruptMedia, match="empty"):
        await decoder.probe(b"")
    with pytest.raises(UnsupportedMedia, match="Images: JPEG"):
        await decoder.image(b"some text")
    with pytest.raises(UnsupportedMedia, match=r"WAV.*still picture is needed"):
        await decoder.image(wav_bytes(0.1))
    with pytest.raises(UnsupportedMedia, match=r"PNG.*sound or video is needed"):
        await decoder.audio(image_bytes((4, 4)))
    with pytest.raises(CorruptMedia):
        await decoder.image(image_bytes((64, 64))[:60])
    with pytest.raises(MediaTooLarge, match="10000x6000"):
        await decoder.image(image_bytes(Image.new("1", (10000, 6000))))
    assert len(pids(decoder)) == 1  # none of this cost the process its life


async def test_many_at_once_on_two_processes(
    make_decoder: Callable[..., MediaDecoder], image_bytes: Encode
) -> None:
    decoder = make_decoder(workers=2)
    colours = [(index, 0, 0) for index in range(0, 200, 10)]
    jobs = [decoder.image(image_bytes(Image.new("RGB", (8, 8), colour))) for colour in colours]
    images = await asyncio.gather(*jobs)
    assert [tuple(image.pixels[0, 0]) for image in images] == colours
    assert len(set(pids(decoder))) == 2


async def test_a_killed_idle_process_is_replaced_unnoticed(
    decoder: MediaDecoder, image_bytes: Encode
) -> None:
    await decoder.probe(image_bytes((4, 4)))
    (first,) = pids(decoder)
    os.kill(first, signal.SIGKILL)
    assert (await decoder.probe(image_bytes((4, 4)))).width == 4
    (second,) = pids(decoder)
    assert second != first


async def test_death_in_the_middle_fails_that_request_only(
    make_decoder: Callable[..., MediaDecoder],
    worker_command: Callable[[str], tuple[str, ...]],
    tmp_path: Path,
) -> None:
    """The first job finds a process that dies by each signal in turn; the next job a fresh one."""
    expected = {signal.SIGSEGV: CorruptMedia, signal.SIGABRT: CorruptMedia, signal.SIGKILL: MediaTooLarge,
                signal.SIGXCPU: DecodeTimeout}  # fmt: skip
    decoder = make_decoder(
        command=worker_command(
            "write({'ready': True})\n"
            "while True:\n"
            "    job, data = read()\n"
            "    if data.isdigit(): os.kill(os.getpid(), int(data))\n"
            "    write({'info': {'kind': 'image', 'content_type': 'image/png'}})\n"
        )
    )
    for number, error in expected.items():
        with pytest.raises(error):
            await decoder.probe(str(int(number)).encode())
        assert (await decoder.probe(b"fine")).content_type == "image/png"


@pytest.mark.parametrize(
    "answer",
    [
        "write({})",
        "sys.stdout.buffer.write(b'\\xff' * 100); sys.stdout.buffer.flush()",
        "sys.stdout.buffer.write(b'\\x05\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0[1,2]'); sys.stdout.buffer.flush()",
        "write({'error': 'SystemExit', 'message': '/srv/secret'})",
        "write({'error': 'CorruptMedia', 'message': 'line\\n/srv/secret'})",
    ],
)
async def test_nonsense_answers_are_corrupt_media(
    answer: str, make_decoder: Callable[..., MediaDecoder], worker_command: Callable[[str], tuple[str, ...]]
) -> None:
    """A decoder taken over by hostile bytes can lie, but it cannot make this process do anything, nor go on."""
    decoder = make_decoder(
        command=worker_command(f"write({{'ready': True}})\nwhile True:\n    read()\n    {answer}\n")
    )
    liars: list[int] = []
    for _ in range(2):
        with pytest.raises(CorruptMedia, match=r"no usable answer|failed on it"):
            await decoder.probe(b"x")
        liars += pids(decoder)
    assert len(set(liars)) == 2


async def test_a_shape_that_does_not_fit_its_bytes(
    make_decoder: Callable[..., MediaDecoder], worker_command: Callable[[str], tuple[str, ...]]
) -> None:
    decoder = make_decoder(
        command=worker_command(
            "write({'ready': True})\nread()\n"
            "write({'shape': [100, 100, 3], 'width': 2, 'height': 2}, bytes(12))\nread()\n"
        )
    )
    with pytest.raises(CorruptMedia):
        await decoder.image(b"x")


async def test_wall_clock_limit(
    make_decoder: Callable[..., MediaDecoder], worker_command: Callable[[str], tuple[str, ...]]
) -> None:
    decoder = make_decoder(
        replace(LIMITS, max_wall_seconds=0.3),
        command=worker_command("write({'ready': True})\nread()\ntime.sleep(600)\n"),
    )
    with pytest.raises(DecodeTimeout, match="seconds allowed"):
        await decoder.probe(b"x")


async def test_wall_clock_limit_while_the_job_is_handed_over(
    make_decoder: Callable[..., MediaDecoder], worker_command: Callable[[str], tuple[str, ...]]
) -> None:
    """A process that never takes its job is not waited for for ever."""
    decoder = make_decoder(
        replace(LIMITS, max_wall_seconds=0.3),
        command=worker_command("write({'ready': True})\ntime.sleep(600)\n"),
    )
    with pytest.raises(DecodeTimeout):
        await decoder.probe(bytes(10 << 20))


async def test_too_many_waiting(
    make_decoder: Callable[..., MediaDecoder], worker_command: Callable[[str], tuple[str, ...]]
) -> None:
    decoder = make_decoder(
        max_queued=2,
        command=worker_command(
            "write({'ready': True})\nread()\ntime.sleep(0.5)\nwhile True:\n"
            "    write({'info': {'kind': 'image', 'content_type': 'image/png'}})\n    read()\n"
        ),
    )
    jobs = [asyncio.create_task(decoder.probe(b"x")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(EncoderOverloaded, match="try again"):
        await decoder.probe(b"x")
    assert len(await asyncio.gather(*jobs)) == 3
    assert (await decoder.probe(b"x")).kind is MediaKind.IMAGE


async def test_a_cancelled_request_frees_its_process(
    make_decoder: Callable[..., MediaDecoder],
    worker_command: Callable[[str], tuple[str, ...]],
    eventually: Eventually,
) -> None:
    decoder = make_decoder(
        command=worker_command(
            "write({'ready': True})\nwhile True:\n    _, data = read()\n"
            "    time.sleep(600 if data == b'slow' else 0)\n"
            "    write({'info': {'kind': 'image', 'content_type': 'image/png'}})\n"
        )
    )
    await decoder.probe(b"quick")
    (pid,) = pids(decoder)
    slow = asyncio.create_task(decoder.probe(b"slow"))
    waiting = asyncio.create_task(decoder.probe(b"quick"))
    await asyncio.sleep(0.05)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert (await waiting).kind is MediaKind.IMAGE
    await eventually(lambda: not is_alive(pid))


async def test_a_decoder_that_does_not_start(make_decoder: Callable[..., MediaDecoder]) -> None:
    decoder = make_decoder(command=(sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(EncoderOverloaded, match="does not start"):
        await decoder.probe(b"x")


async def test_a_decoder_for_which_there_is_no_room(
    make_decoder: Callable[..., MediaDecoder], monkeypatch: pytest.MonkeyPatch, image_bytes: Encode
) -> None:
    """No descriptors or memory left is the machine's trouble: said in our words, over when that is over."""
    decoder = make_decoder()

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files", "/srv/secret")

    for module, name in ((subprocess, "Popen"), (os, "memfd_create")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(EncoderOverloaded, match="no memory or open files left; try again"):
                await decoder.probe(image_bytes((4, 4)))
        assert (await decoder.probe(image_bytes((4, 4)))).width == 4
    assert decoder._pending == 0


async def test_an_answer_that_is_not_read_to_its_end_is_not_taken_for_the_next(
    decoder: MediaDecoder, image_bytes: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no memory for a picture's pixels here: what the process still says of it belongs to nobody."""
    await decoder.probe(image_bytes((4, 4)))
    read = wire._read_exactly

    def failing(pipe: BinaryIO, count: int) -> bytearray:
        if count == 30 * 20 * 3:
            raise MemoryError
        return read(pipe, count)

    monkeypatch.setattr(wire, "_read_exactly", failing)
    with pytest.raises(MemoryError):
        await decoder.image(image_bytes((30, 20)))
    assert (await decoder.image(image_bytes((40, 20)))).pixels.shape == (20, 40, 3)


async def test_a_request_cancelled_while_its_process_starts_does_not_cost_the_start(
    make_decoder: Callable[..., MediaDecoder], worker_command: Callable[[str], tuple[str, ...]]
) -> None:
    decoder = make_decoder(
        command=worker_command(
            "time.sleep(0.9)\nwrite({'ready': True})\nwhile True:\n    read()\n"
            "    write({'info': {'kind': 'image', 'content_type': 'image/png', 'width': os.getpid()}})\n"
        )
    )
    job = asyncio.create_task(decoder.probe(b"x"))
    while not pids(decoder):  # noqa: ASYNC110 - a thread starts it
        await asyncio.sleep(0.01)
    started = pids(decoder)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert [(await decoder.probe(b"x")).width] == started


async def test_closing_ends_the_processes(image_bytes: Encode) -> None:
    decoder = MediaDecoder(LIMITS)
    await decoder.probe(image_bytes((4, 4)))
    (pid,) = pids(decoder)
    await decoder.aclose()
    assert not is_alive(pid)
    with pytest.raises(EncoderOverloaded):
        await decoder.probe(image_bytes((4, 4)))


@pytest.mark.parametrize("death", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
async def test_processes_die_with_their_parent(death: str, eventually: Eventually) -> None:
    code = (
        "import asyncio, os\n"
        "from encoders.config import DecodeLimits\n"
        "from encoders.decoding.sandbox import DecodedImage, MediaDecoder\n"
        "async def main():\n"
        "    decoder = MediaDecoder(DecodeLimits())\n"
        "    try: await decoder.probe(b'x')\n"
        "    except Exception: pass\n"
        "    print([p.pid for p in decoder._processes][0], flush=True)\n"
        f"    {death}\n"
        "asyncio.run(main())\n"
    )
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, cwd=ROOT, timeout=30, check=False
    )
    pid = int(ended.stdout)
    await eventually(lambda: not is_alive(pid))


def test_the_closed_process_can_do_nothing_but_decode(tmp_path: Path) -> None:
    """After giving up its rights it writes nothing, and with a medium open it opens and starts nothing else."""
    code = (
        "import os, socket, sys\n"
        "from encoders.config import DecodeLimits\n"
        "from encoders.decoding import worker\n"
        f"target = os.open({str(tmp_path / 'out')!r}, os.O_WRONLY | os.O_CREAT)\n"
        "worker._give_up_rights(DecodeLimits(), target)\n"
        "def refused(act):\n"
        "    try: act()\n"
        "    except OSError: return True\n"
        "    return False\n"
        "medium = os.open('/etc/hostname', os.O_RDONLY)  # the one slot that is left\n"
        "acts = (lambda: open('/etc/passwd'), socket.socket, os.pipe, lambda: os.dup(0),\n"
        "        lambda: os.write(target, b'x'))\n"
        "print(*map(refused, acts[:4]), refused(acts[4]))\n"
        "with worker._no_descriptors():\n"
        "    os.close(0)  # nor in the place of another\n"
        "    print(*map(refused, acts[:4]), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=30, check=False
    )
    assert done.stdout.split() == ["True"] * 9, done.stderr


async def test_the_process_gets_no_environment(
    make_decoder: Callable[..., MediaDecoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    decoder = make_decoder()
    with pytest.raises(CorruptMedia):
        await decoder.probe(b"")
    (pid,) = pids(decoder)
    assert b"hidden" not in environment_of(pid)
