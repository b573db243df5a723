"""One decoder process (``decoding.worker``) as seen from the service: started, given jobs, timed, buried."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import math
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from encoders.config import DecodeLimits
from encoders.decoding.answers import UNUSABLE, Answer
from encoders.decoding.wire import ProtocolError, learn_senders, read_message, receive_ended, send_job
from encoders.errors import (
    CorruptMedia,
    DecodeTimeout,
    EncoderError,
    EncoderOverloaded,
    MediaTooLarge,
    UnsupportedMedia,
)

__all__ = ["DecodeProcess", "JobTicket", "NeverBegan"]

Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)

_START_TIMEOUT_SECONDS = 60.0
# A job nobody wants any more may end by itself for so long: a fresh process costs more than most jobs.
_GRACE_SECONDS = 0.5
_LOOK_UP_SECONDS = 0.25
_END_SECONDS = 2.0  # for a child that has answered to be gone
_PIPE_BYTES = 1 << 18
# Nothing of this process's environment: it holds credentials the decoder has no use for. One thread per BLAS, since
# each reserves memory and none is used. What malloc gets from the kernel it keeps for the next picture, up to
# 64 MiB: getting it anew costs as much as decoding a small one.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
_ERRORS = {error.__name__: error for error in (CorruptMedia, MediaTooLarge, UnsupportedMedia)}


class NeverBegan(Exception):
    """The process was gone before it had read its job, so the job may be given to another."""


class JobTicket:
    """Lets a cancelled request end the job that runs for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: DecodeProcess | None = None
        self._abandoned = False

    def give_to(self, process: DecodeProcess) -> bool:
        """The job is this process's from now on; ``False`` when nobody wants it any more."""
        with self._lock:
            self._process = None if self._abandoned else process
            return not self._abandoned

    def take_back(self) -> None:
        """The process is done with the job."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.calm()

    def abandon(self) -> None:
        """Nobody wants the job any more. Called from any thread, any number of times."""
        with self._lock:
            self._abandoned = True
            if self._process is not None:
                self._process.cancel()


class DecodeProcess:
    """Used by the one thread that made it; ``cancel`` and ``kill`` from any."""

    def __init__(self, command: Sequence[str], limits: DecodeLimits) -> None:
        """Start it. ``OSError`` when the machine has no descriptors or memory left for it."""
        self._limits = limits
        root = str(Path(__file__).resolve().parents[2])
        self._jobs, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if limits.process_per_medium:
            learn_senders(self._jobs)
        else:
            self._jobs.shutdown(socket.SHUT_RD)  # jobs go one way
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own module, fixed arguments
                    [*command, str(os.getpid()), json.dumps(asdict(limits))],
                    stdin=theirs.fileno(),
                    stdout=subprocess.PIPE,
                    env=_ENVIRONMENT | {"PYTHONPATH": root},
                    cwd="/",
                    bufsize=0,
                )
        except OSError:
            self._jobs.close()
            raise
        self._answers = _TimedPipe(cast(BinaryIO, self._process.stdout))
        self._greeted = self._stopped = self._cancelled = self._child_lives = False

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it runs, as far as the kernel knows."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once; its pending ``run`` then fails."""
        self._stopped = True
        self._process.kill()

    def cancel(self) -> None:
        """Ask the process to end its job; it is killed if it does not soon."""
        self._cancelled = True
        self._answers.hurry(time.monotonic() + _GRACE_SECONDS)
        with contextlib.suppress(OSError):
            send_job(self._jobs, {"cancel": True})

    def calm(self) -> None:
        """The job that ``cancel`` was about is over."""
        self._cancelled = False
        self._answers.hurry(math.inf)

    def greet(self) -> None:
        """Wait until it is ready. Before it has a job: one that is cancelled meanwhile must not cost the start."""
        if not self._greeted:
            if not self._receive(_START_TIMEOUT_SECONDS).get("filtered", True):
                _LOG.warning(
                    "Media are decoded without a filter of system calls: libseccomp is missing. Install it "
                    "(Debian, Ubuntu: apt install libseccomp2; Fedora: dnf install libseccomp)."
                )
            self._greeted = True

    def run(self, job: dict[str, Any], medium: int, answer: Answer[Result]) -> Result:
        """Send a job with its medium's descriptor and read the answer, no longer than the wall-clock limit.

        Time that ``answer.take`` needs does not count. ``greet`` must have been called before.
        """
        if self._child_lives:
            self._see_the_child_end()
        self._answers.allow(self._limits.max_wall_seconds)
        try:
            send_job(self._jobs, job, medium)
        except OSError:
            self.bury()
            raise NeverBegan from None
        self._child_lives = self._limits.process_per_medium
        self._receive(None)  # only a process that has confirmed the job has touched its bytes
        header, body = self._read_answer(answer)
        if "error" in header:
            error, message = _ERRORS.get(str(header["error"])), str(header.get("message", ""))[:500]
            if error is None or not message or not message.isprintable():
                self.bury()  # what does not speak as agreed decodes nobody else's media
                raise CorruptMedia(UNUSABLE)
            raise error(message)
        try:
            return answer.finish(header, body)
        except CorruptMedia:
            if not self._cancelled:  # a job that was broken off has no result to end with
                self.bury()
            raise

    def _see_the_child_end(self) -> None:
        """What did the last job may have been taken over, and say anything in its answer. That it is gone, only its
        parent can say, and after that there is nothing more to read. ``NeverBegan``, with both gone, otherwise.
        """
        poll = select.poll()
        poll.register(self._jobs, select.POLLIN)
        poll.poll(_END_SECONDS * 1000)
        if not receive_ended(self._jobs, self.pid) or self._answers.holds_something():
            self.bury()
            raise NeverBegan
        self._child_lives = False

    def bury(self) -> int:
        """Kill, reap, close the pipes; the exit code (negative: the signal)."""
        self._process.kill()
        code = self._process.wait()
        self._jobs.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    def _receive(self, seconds: float | None) -> dict[str, Any]:
        """A message without a body, which says that the process lives."""
        if seconds is not None:
            self._answers.allow(seconds)
        try:
            header, _ = read_message(cast(BinaryIO, self._answers), 0)
            return header
        except TimeoutError:
            self.bury()
            raise (NeverBegan() if seconds is not None else self._timeout()) from None
        except (EOFError, OSError, ValueError, ProtocolError):
            self.bury()
            raise NeverBegan from None

    def _read_answer(self, answer: Answer[Any]) -> tuple[dict[str, Any], bytearray]:
        """Hand over the parts; the last message. After any error the process is gone."""
        wanted = True
        try:
            while True:
                header, body = read_message(cast(BinaryIO, self._answers), answer.max_body_bytes)
                if not header.get("more"):
                    return header, body
                if wanted:
                    began = time.monotonic()
                    wanted = answer.take(header, body)
                    self._answers.extend(time.monotonic() - began)
                    if not wanted:
                        self.cancel()
        except TimeoutError:
            self.bury()
            raise self._timeout() from None
        except ProtocolError:
            self.bury()
            raise CorruptMedia(UNUSABLE) from None
        except (EOFError, OSError, ValueError):  # ValueError: closed by ``MediaDecoder.close``
            raise self._why_it_died(self.bury()) from None
        except BaseException:  # what is left of this answer must not be taken for the next one
            self.bury()
            raise

    def _timeout(self) -> DecodeTimeout:
        return DecodeTimeout(
            f"Decoding this medium takes longer than the {self._limits.max_wall_seconds:.0f} seconds allowed."
        )

    def _why_it_died(self, code: int) -> EncoderError:
        if self._stopped:
            return EncoderOverloaded("The media decoder is shutting down; send the request again later.")
        if code == -signal.SIGXCPU:
            return DecodeTimeout(
                f"Decoding this medium needs more than the {self._limits.max_cpu_seconds} seconds of "
                "processor time allowed."
            )
        if code == -signal.SIGKILL:  # not for time: the kernel's, for memory
            return MediaTooLarge("Decoding this medium needs more memory than there is.")
        return CorruptMedia("The medium is damaged: its decoder failed on it.")


class _TimedPipe(io.RawIOBase):
    """Reads from a pipe until a time, and then raises ``TimeoutError``."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._ends_at = self._hurried_end = math.inf
        with contextlib.suppress(OSError):  # fewer changes between the processes for large pictures
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def allow(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    def extend(self, seconds: float) -> None:
        self._ends_at += seconds

    def hurry(self, ends_at: float) -> None:
        """Another end, if that is earlier; set by another thread."""
        self._hurried_end = ends_at

    def holds_something(self) -> bool:
        """Whether there are bytes to read, or will never be any more."""
        return bool(self._poll.poll(0))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            left = min(self._ends_at, self._hurried_end) - time.monotonic()
            if left <= 0:
                raise TimeoutError
            # In slices, so that another thread's ``hurry`` is seen.
            if self._poll.poll(math.ceil(min(left, _LOOK_UP_SECONDS) * 1000)):
                return os.readv(self._pipe.fileno(), [buffer])
