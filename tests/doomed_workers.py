"""Processes that work until they are killed: the warm server that forks them, and the tests' side of it.

The server reads an order a line on standard input and forks a worker for it. Standard output, in lines: ``worker
<pid>``; what the worker says; ``dead``.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["say", "serve", "started", "worker_server"]


def say(*words: object) -> None:
    """One line at once: shorter than what a pipe takes in one piece."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def serve(work: Callable[[str], None]) -> None:
    """Fork a worker for every order, and say when it is dead."""
    for order in sys.stdin:
        go, ready = os.pipe()
        worker = os.fork()
        if not worker:
            try:
                os.read(go, 1)  # the server speaks first
                work(order.strip())
            except BaseException as error:
                say("failed", repr(error).replace(" ", "_"))
            finally:
                os._exit(1)
        say("worker", worker)
        os.write(ready, b"x")
        os.waitpid(worker, 0)
        os.close(go)
        os.close(ready)
        say("dead")


@contextmanager
def worker_server(script: str, argument: str, stderr: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A server of the workers of a file beside this one. It must end well."""
    folder = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, str(folder / script), argument],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder.parent)},
    )
    with process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def started(server: subprocess.Popen[str], order: str) -> tuple[int, Iterator[list[str]]]:
    """The process id of a new worker, and what it says until it is dead."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(f"{order}\n")
    server.stdin.flush()
    said = (line.split() for line in iter(server.stdout.readline, ""))
    kind, worker = next(said)
    assert kind == "worker"
    return int(worker), itertools.takewhile(lambda words: words != ["dead"], said)
