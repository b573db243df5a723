"""Starting, pausing and stopping the servers under measurement."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

__all__ = ["Server", "module", "server"]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it answers, its first process, and how long it took to answer."""

    base_url: str
    process: psutil.Process
    start_seconds: float

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop every process of the server (SIGSTOP) for the block, so that its idle work disturbs nobody."""
        tree = [self.process, *self.process.children(recursive=True)]
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in reversed(tree):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()


@contextlib.contextmanager
def server(
    command: Sequence[str],
    base_url: str,
    ready_path: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run ``command`` until the block ends; yields once ``ready_path`` answers 200."""
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            _wait(process, base_url + ready_path, log, deadline=started + 300)
            yield Server(base_url, psutil.Process(process.pid), time.perf_counter() - started)
        finally:
            _stop(process)


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a Python module in this environment."""
    return [sys.executable, "-m", name, *arguments]


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, deadline: float) -> None:
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with code {process.returncode}: {_end(log)}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the server did not become ready: {_end(log)}")


def _end(log: Path) -> str:
    """The last it said: its log is gone when the benchmark ends."""
    return log.read_bytes()[-2000:].decode("utf-8", "replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
