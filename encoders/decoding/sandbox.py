"""Decoding of strangers' media in separate processes with limits; a crash costs one request and nothing else.

``MediaDecoder`` keeps a few worker processes (``encoders.decoding.worker``), one job at a time each. A worker
that crashes, hangs or runs out of memory is replaced. Workers are started by executing Python afresh, never
by forking this process (which may hold CUDA, gRPC threads and secrets), and die with it.

Media go over as open files, so that nobody holds a second copy of a long video. Sound and frames come back as
they are decoded.
"""

from __future__ import annotations

import asyncio
import errno
import sys
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, BinaryIO, TypeVar

from encoders.config import DecodeLimits
from encoders.decoding.answers import (
    Answer,
    DecodedFrame,
    DecodedImage,
    FramesAnswer,
    LookAnswer,
    LookedAt,
    PictureAnswer,
    ProbeAnswer,
    SoundAnswer,
)
from encoders.decoding.medium import Medium
from encoders.decoding.process import DecodeProcess, JobTicket, NeverBegan
from encoders.errors import EncoderOverloaded
from encoders.types import FrameSampling, MediaInfo, Sound, VideoSummary

__all__ = ["DecodedFrame", "DecodedImage", "MediaDecoder"]

Result = TypeVar("Result")

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class MediaDecoder:
    """Asynchronous face of the decoder processes. Any event loop may call it.

    A ``source`` is bytes, or a regular file open for reading, which is decoded from its beginning whatever its
    position, and neither moved nor closed. Its content must not change meanwhile.

    All methods raise ``UnsupportedMedia``, ``CorruptMedia``, ``MediaTooLarge``, ``DecodeTimeout`` for what is
    wrong with the medium, and ``EncoderOverloaded`` when ``max_queued`` jobs wait already.
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
        self._processes: set[DecodeProcess] = set()
        self._streams: set[FramesAnswer] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._command = command or (sys.executable, "-P", "-s", "-m", "encoders.decoding.worker")
        self._worker_count = workers

    def start(self) -> None:
        """Begin starting the processes now and return at once. Without it the first jobs start them."""
        for _ in range(self._worker_count):
            self._executor.submit(self._process)

    async def probe(self, source: bytes | BinaryIO) -> MediaInfo:
        """Facts from the header, held against the limits."""
        return await self._run({"task": "probe"}, source, ProbeAnswer())

    async def image(self, source: bytes | BinaryIO, max_side: int | None = None) -> DecodedImage:
        """A still picture, upright RGB; shrunk so that its longer side is at most ``max_side`` pixels."""
        job = {"task": "image", "max_side": max_side}
        return await self._run(job, source, PictureAnswer(self._limits, max_side))

    async def look(self, source: bytes | BinaryIO, max_side: int) -> LookedAt:
        """``probe``, and ``image`` if it is a picture, in one go."""
        return await self._run(
            {"task": "look", "max_side": max_side}, source, LookAnswer(self._limits, max_side)
        )

    async def audio(self, source: bytes | BinaryIO) -> Sound:
        """The sound as mono 16 kHz float32 ``(n,)``. ``UnsupportedMedia`` when the medium has none."""
        return await self._run({"task": "audio"}, source, SoundAnswer(self._limits))

    async def frames(
        self, source: bytes | BinaryIO, sampling: FrameSampling
    ) -> AsyncGenerator[DecodedFrame | VideoSummary, None]:
        """Frames of a video or an animated picture as they are decoded, and lastly a summary.

        Decoding runs a few frames ahead and then waits. Only its own time counts against
        ``max_wall_seconds``; the consumer may keep it waiting for as long again, in all, and is then told
        ``DecodeTimeout``. Leaving early (``aclose``, cancellation) ends the job. A consumer that awaits
        anything between frames closes the iterator itself (``contextlib.aclosing``): an exception there keeps
        it alive, and with it the job.
        """
        loop = asyncio.get_running_loop()
        answer = FramesAnswer(self._limits, sampling, self._limits.max_wall_seconds, loop)
        self._streams.add(answer)
        ticket = JobTicket()
        try:
            future = self._submit({"task": "frames", "sampling": asdict(sampling)}, source, answer, ticket)
            future.add_done_callback(lambda _: answer.end())
            while (frame := await answer.get()) is not None:
                yield frame
            if future.cancelled():
                raise _shutting_down()
            yield future.result()
        finally:
            ticket.abandon()
            answer.close()
            self._streams.discard(answer)

    async def aclose(self) -> None:
        """Stop the processes. Running jobs fail."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Stop the processes, from synchronous code."""
        with self._lock:
            self._closed = True
            processes, self._processes = self._processes, set()
        for process in processes:
            process.kill()  # ends the jobs that run
        for stream in tuple(self._streams):
            stream.close()  # and those that wait for a consumer
        self._executor.shutdown(wait=True, cancel_futures=True)
        for process in processes:
            process.bury()

    async def _run(self, job: dict[str, Any], source: bytes | BinaryIO, answer: Answer[Result]) -> Result:
        """Run one job on the next free worker. A cancelled caller's job is dropped or ended."""
        ticket = JobTicket()
        future = self._submit(job, source, answer, ticket)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            ticket.abandon()
            task = asyncio.current_task()
            if self._closed and not (task is not None and task.cancelling()):
                raise _shutting_down() from None  # it was the queue that was cancelled
            raise

    def _submit(
        self, job: dict[str, Any], source: bytes | BinaryIO, answer: Answer[Result], ticket: JobTicket
    ) -> Future[Result]:
        """Queue a job. The medium is let go when its future is done."""
        if self._closed:
            raise _shutting_down()
        if self._pending >= self._max_pending:
            raise EncoderOverloaded("Too many media wait to be decoded; try again shortly.")
        try:
            medium = Medium(source)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise _no_room() from None
            raise
        with self._lock:
            self._pending += 1
        try:
            future = self._executor.submit(self._serve, job, medium, answer, ticket)
        except RuntimeError:  # closed between the look above and here
            self._finished(medium)
            raise _shutting_down() from None
        future.add_done_callback(lambda _: self._finished(medium))
        return future

    def _finished(self, medium: Medium) -> None:
        medium.close()
        with self._lock:
            self._pending -= 1

    def _serve(
        self, job: dict[str, Any], medium: Medium, answer: Answer[Result], ticket: JobTicket
    ) -> Result:
        """In a pool thread: hand the job to this thread's worker; once more if that died before it began."""
        for _ in range(2):
            try:
                process = self._process()
                process.greet()
                descriptor = medium.descriptor()
            except NeverBegan:
                continue
            except OSError:
                raise _no_room() from None
            if not ticket.give_to(process):
                raise EncoderOverloaded("The request was cancelled.")
            try:
                return process.run(job, descriptor, answer)
            except NeverBegan:
                continue
            finally:
                ticket.take_back()
        raise EncoderOverloaded("The media decoder does not start; try again shortly.")

    def _process(self) -> DecodeProcess:
        """This thread's worker, started or replaced when there is none alive.

        One worker per thread: the kernel ties a child's death signal to the thread that started it.
        """
        process: DecodeProcess | None = getattr(self._local, "process", None)
        if process is None or not process.alive():
            if process is not None:
                with self._lock:
                    self._processes.discard(process)
                process.bury()
            # Not under the lock, which an event loop takes too: starting a process takes a while.
            process = DecodeProcess(self._command, self._limits)
            with self._lock:
                closed = self._closed
                if not closed:
                    self._processes.add(process)
            if closed:
                process.bury()
                raise _shutting_down()
            self._local.process = process
        return process


def _no_room() -> EncoderOverloaded:
    return EncoderOverloaded("The media decoder has no memory or open files left; try again shortly.")


def _shutting_down() -> EncoderOverloaded:
    return EncoderOverloaded("The media decoder is shutting down; send the request again later.")
