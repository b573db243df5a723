"""A decoder process that has been taken over: whatever its media say is tried, as code inside it could.

Run in the worker's place, see ``MediaDecoder(command=...)``. What came of it is told in an error's message.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from encoders.decoding import worker
from encoders.decoding.wire import receive_job, write_message
from encoders.errors import CorruptMedia

_SECRETS: list[str] = []
_CHANNELS: dict[str, Any] = {}
_ANSWERED = {"error": "CorruptMedia", "message": "came of it: answered"}


def open_file(path: str) -> object:
    """As libraries would."""
    return os.open(path, os.O_RDONLY)


def open_file_in_another_place(path: str) -> object:
    """As code would that raises the soft limit and makes room."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.close(2)
    return os.open(path, os.O_RDONLY)


def connect(port: str) -> None:
    """To a server on this machine."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.close(2)
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", int(port)))


def delete(path: str) -> None:
    """Needs no descriptor."""
    os.unlink(path)


def rename(path: str) -> None:
    """Needs no descriptor, either."""
    os.rename(path, path + ".moved")


def run(path: str) -> object:
    """Become another program."""
    return os.execv("/bin/sh", ["sh", "-c", f"rm {path}"])  # noqa: S606 - what must fail


def multiply(_: str) -> object:
    """A process that outlives the job."""
    return os.fork()


def kill_parent(_: str) -> None:
    """End who gave the job."""
    os.kill(os.getppid(), signal.SIGKILL)


def trace_parent(_: str) -> object:
    """Read the memory of who gave the job."""
    return ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)


def remember(text: str) -> object:
    """What one job leaves behind for the next."""
    seen, _SECRETS[:] = list(_SECRETS), [text]
    return seen


def answer_and_stay(_: str) -> object:
    """Have the job's sender believe that it is over, and take what is sent next."""
    answers, jobs = _CHANNELS["answers"], _CHANNELS["jobs"]
    write_message(answers, _ANSWERED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.close(2)
    descriptors = socket.recv_fds(jobs, 1 << 16, 1)[1]
    stolen = os.pread(descriptors[0], 100, 0).decode() if descriptors else "no medium"
    write_message(answers, {"begun": True})
    write_message(answers, {"error": "CorruptMedia", "message": f"came of it: took {stolen}"})
    os._exit(0)


def answer_twice(_: str) -> object:
    """Leave an answer for whoever comes next."""
    answers = _CHANNELS["answers"]
    write_message(answers, _ANSWERED)
    write_message(answers, {"begun": True})
    write_message(answers, {"error": "CorruptMedia", "message": "came of it: a lie"})
    os._exit(0)


def say_ended(_: str) -> object:
    """Tell, in the worker's place, that this process has ended, and stay."""
    os.write(_CHANNELS["jobs"].fileno(), b"ended")
    return answer_and_stay("")


def start_thread(_: str) -> object:
    """What decoders may do."""
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(True))
    thread.start()
    thread.join(5)
    return done


def _tried(job: dict[str, Any], file: Any, limits: Any) -> Iterator[Any]:
    name, _, argument = file.read().decode().partition(" ")
    try:
        outcome = repr(globals()[name](argument))
    except OSError as error:
        outcome = type(error).__name__
    raise CorruptMedia(f"came of it: {outcome}")
    yield


def _noted_job(channel: socket.socket) -> Any:
    _CHANNELS["jobs"] = channel
    return receive_job(channel)


def _noted_message(pipe: Any, header: dict[str, Any], *bodies: Any) -> None:
    _CHANNELS["answers"] = pipe
    write_message(pipe, header, *bodies)


if __name__ == "__main__":
    worker._decode = _tried
    worker.receive_job = _noted_job  # type: ignore[attr-defined]  # names of its own
    worker.write_message = _noted_message  # type: ignore[attr-defined]  # the same
    worker.main()
