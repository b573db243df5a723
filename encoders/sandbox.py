"""Decoding of strangers' bytes in separate processes with limits; a crash costs one request and nothing else.

``MediaDecoder`` keeps a few worker processes (``encoders.decode_worker``), one job at a time each. A worker
that crashes, hangs or runs out of memory is replaced. Workers are started by executing Python afresh, never
by forking this process (which may hold CUDA, gRPC threads and secrets), and die with it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from encoders.config import DecodeLimits
from encoders.decoding.wire import ProtocolError, read_message, write_message
from encoders.errors import (
    CorruptMedia,
    DecodeTimeout,
    EncoderError,
    EncoderOverloaded,
    MediaTooLarge,
    UnsupportedMedia,
)
from encoders.types import FrameSampling, MediaInfo, MediaKind

__all__ = ["DecodedFrame", "DecodedImage", "DecodedVideo", "MediaDecoder"]

_START_TIMEOUT_SECONDS = 60.0
_ERRORS: Mapping[str, type[EncoderError]] = {
    error.__name__: error for error in (CorruptMedia, MediaTooLarge, UnsupportedMedia)
}


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """RGB pixels ``(height, width, 3)``, perhaps shrunk, and the full upright size."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A sampled frame: seconds from the medium's beginning, why it was chosen, RGB pixels ``(h, w, 3)``."""

    time_seconds: float
    reason: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DecodedVideo:
    """Sampled frames in order of time, and the video's length."""

    duration_seconds: float
    frames: tuple[DecodedFrame, ...]


class MediaDecoder:
    """Asynchronous face of the decoder processes. Any event loop may call it.

    All methods raise ``UnsupportedMedia``, ``CorruptMedia``, ``MediaTooLarge``, ``DecodeTimeout`` for what is
    wrong with the bytes, and ``EncoderOverloaded`` when ``max_queued`` jobs wait already.
    """

    def __init__(
        self,
        limits: DecodeLimits,
        workers: int = 1,
        max_queued: int = 64,
        command: Sequence[str] | None = None,
    ) -> None:
        """``command`` replaces the worker's command line; tests use it."""
        self._limits = limits
        self._max_pending = workers + max_queued
        self._pending = 0
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="media-decoder")
        self._local = threading.local()
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._command = command or (sys.executable, "-P", "-s", "-m", "encoders.decode_worker")
        self._worker_count = workers

    def start(self) -> None:
        """Begin starting the processes now and return at once. Without it the first jobs start them."""
        for _ in range(self._worker_count):
            self._executor.submit(self._worker)

    async def probe(self, data: bytes) -> MediaInfo:
        """Facts from the header, held against the limits."""
        header, _ = await self._run({"task": "probe"}, data)
        try:
            info = dict(header["info"])
            return MediaInfo(MediaKind(info.pop("kind")), **info)
        except (KeyError, TypeError, ValueError):
            _broken_answer()

    async def image(self, data: bytes, max_side: int | None = None) -> DecodedImage:
        """A still picture, upright RGB; shrunk so that its longer side is at most ``max_side`` pixels."""
        header, body = await self._run({"task": "image", "max_side": max_side}, data)
        try:
            pixels, _ = _take_picture(header["shape"], body, 0)
            return DecodedImage(pixels, int(header["width"]), int(header["height"]))
        except (KeyError, TypeError, ValueError):
            _broken_answer()

    async def audio(self, data: bytes) -> NDArray[np.float32]:
        """The sound as mono 16 kHz float32 ``(n,)``. ``UnsupportedMedia`` when the medium has none."""
        _, body = await self._run({"task": "audio"}, data)
        if len(body) % 4:
            _broken_answer()
        return np.frombuffer(body, dtype=np.float32)

    async def frames(self, data: bytes, sampling: FrameSampling) -> DecodedVideo:
        """Frames of a video, longer side at most 768 pixels."""
        job = {"task": "frames", "method": sampling.method, "max_frames": sampling.max_frames}
        header, body = await self._run(job, data)
        try:
            frames, offset = [], 0
            for fact in header["frames"]:
                pixels, offset = _take_picture(fact["shape"], body, offset)
                frames.append(DecodedFrame(float(fact["time"]), str(fact["reason"])[:32], pixels))
            return DecodedVideo(float(header["seconds"]), tuple(frames))
        except (KeyError, TypeError, ValueError):
            _broken_answer()

    async def aclose(self) -> None:
        """Stop the processes. Running jobs fail."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Stop the processes, from synchronous code."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.kill()  # ends the jobs that run
        self._executor.shutdown(wait=True, cancel_futures=True)
        for worker in workers:
            worker.bury()

    async def _run(self, job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytearray]:
        """Run one job on the next free worker. A cancelled caller's job is dropped or its worker killed."""
        if self._closed:
            raise EncoderOverloaded("The media decoder is shutting down; send the request again later.")
        if self._pending >= self._max_pending:
            raise EncoderOverloaded("Too many media wait to be decoded; try again shortly.")
        ticket = _Ticket()
        with self._lock:
            self._pending += 1
        future = self._executor.submit(self._serve, job, data, ticket)
        future.add_done_callback(lambda _: self._finished())
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            ticket.abandon()
            raise

    def _finished(self) -> None:
        with self._lock:
            self._pending -= 1

    def _serve(self, job: dict[str, Any], data: bytes, ticket: _Ticket) -> tuple[dict[str, Any], bytearray]:
        """In a pool thread: hand the job to this thread's worker; once more if that died before it began."""
        for attempt in (1, 2):
            worker = self._worker()
            if not ticket.give_to(worker):
                raise EncoderOverloaded("The request was cancelled.")
            try:
                header, body = worker.call(job, data)
            except _NeverBegan:
                if attempt == 2:
                    raise EncoderOverloaded("The media decoder does not start; try again shortly.") from None
                continue
            finally:
                ticket.take_back()
            if "error" in header:
                raise _ERRORS.get(str(header["error"]), CorruptMedia)(str(header.get("message", ""))[:500])
            return header, body
        raise AssertionError("unreachable")

    def _worker(self) -> _Worker:
        """This thread's worker, started or replaced when there is none alive.

        One worker per thread: the kernel ties a child's death signal to the thread that started it.
        """
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is None or not worker.alive():
            with self._lock:
                self._workers.discard(worker)
                if self._closed:
                    raise EncoderOverloaded(
                        "The media decoder is shutting down; send the request again later."
                    )
                worker = _Worker(self._command, self._limits)
                self._workers.add(worker)
            self._local.worker = worker
        return worker


def _broken_answer() -> NoReturn:
    raise CorruptMedia("The medium is damaged: its decoder gave no usable answer.") from None


def _take_picture(shape: Any, body: bytearray, offset: int) -> tuple[NDArray[np.uint8], int]:
    """The picture of ``shape`` that begins at ``offset`` of ``body``, and where the next begins."""
    height, width, channels = (int(side) for side in shape)
    if height < 1 or width < 1 or channels != 3:
        raise ValueError
    count = math.prod((height, width, channels))
    pixels = np.frombuffer(body, dtype=np.uint8, count=count, offset=offset)
    return pixels.reshape(height, width, channels), offset + count


class _NeverBegan(Exception):
    """The worker was gone before it had read its job, so the job may be given to another."""


class _Ticket:
    """Lets a cancelled request stop the worker that runs for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._abandoned = False

    def give_to(self, worker: _Worker) -> bool:
        with self._lock:
            self._worker = None if self._abandoned else worker
            return not self._abandoned

    def take_back(self) -> None:
        with self._lock:
            self._worker = None

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._worker is not None:
                self._worker.kill()


class _Worker:
    """One decoder process and the pipes to it. Used by one thread, killed from any."""

    def __init__(self, command: Sequence[str], limits: DecodeLimits) -> None:
        self._limits = limits
        self._timed_out = False
        root = str(Path(__file__).resolve().parents[1])
        self._process = subprocess.Popen(  # noqa: S603 - our own module, fixed arguments
            [*command, str(os.getpid()), json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Nothing of this process's environment: it holds credentials the decoder has no use for. One
            # thread per BLAS, since each reserves memory and none is used.
            env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"},
            cwd="/",
            bufsize=0,
        )
        self._greeted = False

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once; its pending ``call`` then fails."""
        self._process.kill()

    def call(self, job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytearray]:
        """Send a job and wait for its answer, no longer than the wall-clock limit."""
        stdin, stdout = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        if not self._greeted:
            with _Deadline(self, _START_TIMEOUT_SECONDS):
                try:
                    read_message(stdout, 0)
                except (EOFError, OSError, ProtocolError):
                    self.bury()
                    raise _NeverBegan from None
            self._greeted = True
        with _Deadline(self, self._limits.max_wall_seconds):
            try:
                write_message(stdin, job, data)
                # Only a process that has confirmed the job has touched its bytes.
                read_message(stdout, 0)
            except (EOFError, OSError, ProtocolError):
                self.bury()
                if self._timed_out:
                    raise self._timeout() from None
                raise _NeverBegan from None
            try:
                return read_message(stdout, self._limits.max_memory_bytes)
            except ProtocolError:
                self.bury()
                raise CorruptMedia("The medium is damaged: its decoder gave no usable answer.") from None
            except (EOFError, OSError):
                raise self._why_it_died(self.bury()) from None

    def expire(self) -> None:
        """Called when a deadline passes."""
        self._timed_out = True
        self.kill()

    def bury(self) -> int:
        """Kill, reap, close the pipes; the exit code (negative: the signal)."""
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def _timeout(self) -> DecodeTimeout:
        return DecodeTimeout(
            f"Decoding this medium takes longer than the {self._limits.max_wall_seconds:.0f} seconds allowed."
        )

    def _why_it_died(self, code: int) -> EncoderError:
        if self._timed_out:
            return self._timeout()
        if code == -signal.SIGXCPU:
            return DecodeTimeout(
                f"Decoding this medium needs more than the {self._limits.max_cpu_seconds} seconds of "
                "processor time allowed."
            )
        if code == -signal.SIGKILL:  # not ours: the kernel's, for memory
            return MediaTooLarge("Decoding this medium needs more memory than there is.")
        return CorruptMedia("The medium is damaged: its decoder failed on it.")


class _Deadline:
    """Kills a worker when the block takes too long. A dead worker's pipes end every wait on them."""

    def __init__(self, worker: _Worker, seconds: float) -> None:
        self._timer = threading.Timer(seconds, worker.expire)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
