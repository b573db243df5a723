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
from encoders.errors import CorruptMedia

_SECRETS: list[str] = []


def open_file(path: str) -> object:
    """As libraries would."""
    return os.open(path, os.O_RDONLY)


def open_file_in_another_place(path: str) -> object:
    """As code would that raises the soft limit and makes room."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.close(2)
    return os.open(path, os.O_RDONLY)


def connect(port: str) -> object:
    """To a server on this machine."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.close(2)
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", int(port)))


def delete(path: str) -> object:
    """Needs no descriptor."""
    return os.unlink(path)


def rename(path: str) -> object:
    """Needs no descriptor, either."""
    return os.rename(path, path + ".moved")


def run(path: str) -> object:
    """Become another program."""
    return os.execv("/bin/sh", ["sh", "-c", f"rm {path}"])  # noqa: S606


def multiply(_: str) -> object:
    """A process that outlives the job."""
    return os.fork()


def kill_parent(_: str) -> object:
    """End who gave the job."""
    return os.kill(os.getppid(), signal.SIGKILL)


def trace_parent(_: str) -> object:
    """Read the memory of who gave the job."""
    return ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)


def remember(text: str) -> object:
    """What one job leaves behind for the next."""
    seen, _SECRETS[:] = list(_SECRETS), [text]
    return seen


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


if __name__ == "__main__":
    worker._decode = _tried
    worker.main()
