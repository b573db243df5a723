"""Media go to the decoder process as open files, and come back piece by piece, no faster than they are taken."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from encoders.config import DecodeLimits
from encoders.decoding import process
from encoders.decoding.medium import Medium
from encoders.decoding.sandbox import DecodedFrame, MediaDecoder
from encoders.errors import CorruptMedia, DecodeTimeout, EncoderOverloaded, UnsupportedMedia
from encoders.types import FrameSampling, VideoSummary

LIMITS = DecodeLimits()
Encode = Callable[..., bytes]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
MakeDecoder = Callable[..., MediaDecoder]
Command = Callable[[str], tuple[str, ...]]

FRAMES = (
    "write({'ready': True})\n"
    "while True:\n"
    "    job, data = read()\n"
    "    for index in range(int(data)):\n"
    "        if cancelled(): write({'cancelled': True}); break\n"
    "        write({'more': True, 'time': index, 'reason': 'x', 'shape': [512, 512, 3]}, bytes(786432))\n"
    "        open(made, 'w').write(str(index + 1))\n"
    "    else:\n"
    "        write({'seconds': 9.0, 'near_duplicates': 3})\n"
)


@pytest.fixture
def frame_maker(worker_command: Command, tmp_path: Path) -> tuple[tuple[str, ...], Callable[[], int]]:
    """A process that makes as many frames as it is told, and how many it has made."""
    made = tmp_path / "made"
    code = (
        f"made = {str(made)!r}\n"
        "def cancelled():\n"
        "    try: return bool(jobs.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))\n"
        "    except BlockingIOError: return False\n"
    )
    return worker_command(code + FRAMES), lambda: int(made.read_text() or 0) if made.exists() else 0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, too, no process is replaced for being slow to end a job or its child."""
    for name in ("_GRACE_SECONDS", "_END_SECONDS"):
        monkeypatch.setattr(process, name, 60.0)


def pids(decoder: MediaDecoder) -> list[int]:
    return [process.pid for process in decoder._processes]


def open_files(pid: int | str) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def collected(stream: AsyncIterator[DecodedFrame | VideoSummary]) -> list[DecodedFrame | VideoSummary]:
    return [one async for one in stream]


# -- the way in -------------------------------------------------------------------------------------------


async def test_a_file_is_read_from_its_beginning_and_left_alone(
    decoder: MediaDecoder, image_bytes: Encode, tmp_path: Path
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(image_bytes((40, 20)))
    with path.open("rb") as file:
        file.seek(33)
        images = await asyncio.gather(*(decoder.image(file) for _ in range(8)))
        assert {image.pixels.shape for image in images} == {(20, 40, 3)}
        assert file.tell() == 33
        assert file.read(1)


async def test_a_file_may_be_closed_and_deleted_while_it_waits(
    decoder: MediaDecoder, image_bytes: Encode, tmp_path: Path
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(image_bytes((40, 20)))
    with path.open("rb") as file:
        job = asyncio.create_task(decoder.image(file))
        await asyncio.sleep(0)
    path.unlink()
    assert (await job).width == 40


async def test_the_process_cannot_write_into_what_it_is_sent(
    make_decoder: MakeDecoder, worker_command: Command, image_bytes: Encode, tmp_path: Path
) -> None:
    """Neither into a file that was opened for writing, nor into the memory that holds bytes."""
    decoder = make_decoder(
        command=worker_command(
            "import fcntl\n"
            "write({'ready': True})\n"
            "while True:\n"
            "    medium = None\n"
            "    while medium is None: job, medium = receive_job(jobs)\n"
            "    write({'begun': True})\n"
            "    failed = 0\n"
            "    for act in (lambda: os.pwrite(medium, b'x', 0), lambda: os.ftruncate(medium, 0)):\n"
            "        try: act()\n"
            "        except OSError: failed += 1\n"
            "    os.close(medium)\n"
            "    write({'info': {'kind': 'image', 'content_type': 'image/png', 'width': failed}})\n"
        )
    )
    path = tmp_path / "picture"
    path.write_bytes(b"content")
    with path.open("r+b") as file:
        assert (await decoder.probe(file)).width == 2
    assert (await decoder.probe(b"content")).width == 2
    assert path.read_bytes() == b"content"


def test_bytes_are_sealed() -> None:
    medium = Medium(b"abc")
    descriptor = medium.descriptor()
    assert os.pread(descriptor, 9, 0) == b"abc"
    assert medium.descriptor() == descriptor
    seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    medium.close()
    medium.close()
    with pytest.raises(ValueError, match="closed"):
        medium.descriptor()


async def test_what_is_no_file(decoder: MediaDecoder) -> None:
    reading, writing = os.pipe()
    try:
        with os.fdopen(reading, "rb") as pipe, pytest.raises(ValueError, match="regular file"):
            await decoder.probe(pipe)
    finally:
        os.close(writing)
    with pytest.raises(OSError, match="fileno"):
        await decoder.probe(io.BytesIO(b"x"))
    assert decoder._pending == 0


async def test_nothing_is_left_open(
    decoder: MediaDecoder,
    image_bytes: Encode,
    video_bytes: Encode,
    tmp_path: Path,
    eventually: Eventually,
    patient: None,
) -> None:
    """Not here and not in the process, whatever became of the job."""
    path = tmp_path / "picture"
    path.write_bytes(image_bytes((40, 20)))

    async def work() -> None:
        with path.open("rb") as file:
            await decoder.image(file)
        with pytest.raises(UnsupportedMedia):
            await decoder.image(b"text")
        with pytest.raises(CorruptMedia):
            await decoder.probe(b"")
        stream = decoder.frames(video_bytes([0, 0.1, 0.2, 0.3]), FrameSampling(max_frames=4))
        await anext(stream)
        await stream.aclose()

    await work()
    gc.collect()
    (pid,) = pids(decoder)
    before = open_files("self")
    for _ in range(5):
        await work()
    await decoder.probe(image_bytes((4, 4)))
    await eventually(lambda: open_files("self") <= before)  # the last one closes a moment after its answer
    await eventually(lambda: open_files(pid) == 4)  # jobs, nothing, nothing, answers
    assert pids(decoder) == [pid]
    assert decoder._streams == set()


# -- the way back -----------------------------------------------------------------------------------------


async def test_frames_come_one_by_one_and_wait(
    make_decoder: MakeDecoder, frame_maker: tuple[tuple[str, ...], Callable[[], int]]
) -> None:
    command, made = frame_maker
    decoder = make_decoder(command=command)
    stream = decoder.frames(b"40", FrameSampling(max_frames=64))
    first = await anext(stream)
    assert isinstance(first, DecodedFrame)
    await asyncio.sleep(0.3)
    assert made() < 10  # the pipe holds one, a few more are under way
    rest = await collected(stream)
    assert [one.time_seconds for one in rest[:-1] if isinstance(one, DecodedFrame)] == list(range(1, 40))
    assert rest[-1] == VideoSummary(9.0, 3)


async def test_leaving_early_ends_the_job_and_keeps_the_process(
    make_decoder: MakeDecoder, frame_maker: tuple[tuple[str, ...], Callable[[], int]], patient: None
) -> None:
    command, made = frame_maker
    # The frames' maker is one process, which has no children whose end it could tell.
    decoder = make_decoder(DecodeLimits(process_per_medium=False), command=command)
    for _ in range(3):
        stream = decoder.frames(b"100000", FrameSampling(max_frames=100000))
        await anext(stream)
        await stream.aclose()
        pid = pids(decoder)
        assert len(await collected(decoder.frames(b"3", FrameSampling(max_frames=3)))) == 4
        assert pids(decoder) == pid
    assert made() < 200


async def test_a_cancelled_consumer_ends_the_job(
    make_decoder: MakeDecoder, frame_maker: tuple[tuple[str, ...], Callable[[], int]]
) -> None:
    command, _ = frame_maker
    decoder = make_decoder(command=command)
    task = asyncio.create_task(collected(decoder.frames(b"100000", FrameSampling(max_frames=100000))))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await collected(decoder.frames(b"1", FrameSampling()))) == 2


async def test_a_process_that_does_not_stop_is_ended(
    make_decoder: MakeDecoder, worker_command: Command, eventually: Eventually
) -> None:
    decoder = make_decoder(
        command=worker_command(
            "write({'ready': True})\n"
            "while True:\n"
            "    job, data = read()\n"
            "    if data == b'hang':\n"
            "        write({'more': True, 'time': 0, 'reason': 'x', 'shape': [1, 1, 3]}, bytes(3))\n"
            "        time.sleep(600)\n"
            "    write({'seconds': 1.0, 'near_duplicates': 0})\n"
        )
    )
    stream = decoder.frames(b"hang", FrameSampling())
    await anext(stream)
    before = pids(decoder)
    await stream.aclose()
    assert await collected(decoder.frames(b"x", FrameSampling())) == [VideoSummary(1.0, 0)]
    assert pids(decoder) != before


async def test_a_stalled_consumer_does_not_hold_a_process_for_ever(
    make_decoder: MakeDecoder, frame_maker: tuple[tuple[str, ...], Callable[[], int]]
) -> None:
    command, _ = frame_maker
    decoder = make_decoder(replace(LIMITS, max_wall_seconds=0.4), command=command)
    stream = decoder.frames(b"100", FrameSampling(max_frames=100))
    await anext(stream)
    waiting = asyncio.create_task(collected(decoder.frames(b"2", FrameSampling())))
    assert len(await waiting) == 3  # although the first consumer does nothing
    with pytest.raises(DecodeTimeout, match="not taken in time"):
        await collected(stream)


async def test_pauses_of_the_consumer_are_not_decoding_time(
    make_decoder: MakeDecoder, worker_command: Command
) -> None:
    decoder = make_decoder(
        replace(LIMITS, max_wall_seconds=1.0),
        command=worker_command(
            "write({'ready': True})\nread()\n"
            "for index in range(12):\n"
            "    time.sleep(0.05)\n"
            "    write({'more': True, 'time': index, 'reason': 'x', 'shape': [512, 512, 3]}, bytes(786432))\n"
            "write({'seconds': 1.0, 'near_duplicates': 0})\nread()\n"
        ),
    )
    taken = 0
    async for _ in decoder.frames(b"x", FrameSampling()):
        taken += 1
        await asyncio.sleep(0.08)  # 1.6 seconds in all, of both
    assert taken == 13


@pytest.mark.parametrize(
    "part",
    [
        "{'more': True, 'time': float('nan'), 'reason': 'x', 'shape': [1, 1, 3]}, bytes(3)",
        "{'more': True, 'time': 0, 'reason': 'x', 'shape': [2000, 2000, 3]}, bytes(12000000)",
        "{'seconds': float('inf'), 'near_duplicates': 0}",
    ],
)
async def test_lies_in_a_stream(part: str, make_decoder: MakeDecoder, worker_command: Command) -> None:
    decoder = make_decoder(
        command=worker_command(
            f"write({{'ready': True}})\nwhile True:\n    read()\n    write({part})\n    read()\n"
        )
    )
    with pytest.raises(CorruptMedia):
        await collected(decoder.frames(b"x", FrameSampling(max_side=768)))


async def test_more_frames_and_sound_than_can_be(make_decoder: MakeDecoder, worker_command: Command) -> None:
    decoder = make_decoder(
        replace(LIMITS, max_audio_seconds=1.0, max_video_seconds=1.0),
        command=worker_command(
            "write({'ready': True})\nread()\nwhile True:\n"
            "    write({'more': True, 'time': 0, 'reason': 'x', 'shape': [100, 100, 3]}, bytes(30000))\n"
        ),
    )
    with pytest.raises(CorruptMedia):
        await collected(decoder.frames(b"x", FrameSampling(max_frames=4)))
    with pytest.raises(CorruptMedia):
        await decoder.audio(b"x")


async def test_closing_fails_the_streams_that_run(
    frame_maker: tuple[tuple[str, ...], Callable[[], int]],
) -> None:
    decoder = MediaDecoder(LIMITS, command=frame_maker[0])
    stream = decoder.frames(b"100", FrameSampling(max_frames=100))
    await anext(stream)
    waiting = asyncio.create_task(decoder.probe(b"1"))
    await asyncio.sleep(0.1)
    await decoder.aclose()
    with pytest.raises(EncoderOverloaded):
        await waiting
    with pytest.raises(EncoderOverloaded):
        await collected(stream)
