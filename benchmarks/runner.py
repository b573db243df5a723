"""Runs one benchmark as a process of its own, for as long as it may take, and says how that ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

__all__ = ["Run", "run"]

_STOP_SECONDS = 90.0
"""What a benchmark may take to stop its servers."""

_KILL_SECONDS = 60.0
_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux


@dataclass(frozen=True, slots=True)
class Run:
    """How a benchmark ended: ``measured`` when it wrote its result, whatever it says of its goals."""

    name: str
    outcome: Literal["measured", "failed", "too slow", "skipped"]
    seconds: float = 0.0
    why: str = ""


def run(
    name: str,
    command: Sequence[str],
    result: Path,
    limit_seconds: float,
    environment: Mapping[str, str] | None = None,
    stop_seconds: float = _STOP_SECONDS,
) -> Run:
    """Run ``command`` with this Python; its output goes where ours goes.

    It is interrupted (as by Ctrl-C, so that it stops its servers) when it is over its limit, and killed when that
    does not help. What it has started and left is killed, however it ended. A benchmark ends with 1 when it misses
    its goals and when it breaks, so what counts is whether it wrote ``result``.
    """
    began, clock = time.time(), time.perf_counter()
    with _nothing_left():
        process = subprocess.Popen(
            [sys.executable, *command], env={**os.environ, **(environment or {})}, start_new_session=True
        )
        try:
            code: int | None = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                _stop(process, stop_seconds)
    seconds = time.perf_counter() - clock
    if code is None:
        return Run(name, "too slow", seconds, f"not done in {limit_seconds:.0f} s")
    written = result.exists() and result.stat().st_mtime >= began - 1  # file systems may keep whole seconds
    if code not in (0, 1) or not written:
        return Run(
            name, "failed", seconds, f"ended with {code}" + ("" if written else " and wrote no result")
        )
    return Run(name, "measured", seconds)


def _stop(process: subprocess.Popen[bytes], stop_seconds: float) -> None:
    """Interrupt it, so that it stops its servers; kill it when that does not help."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _nothing_left() -> Iterator[None]:
    """Kill what the block has started and left, however it ended: it would disturb what is measured next.

    Servers run in sessions of their own. What loses its parent becomes our child here, and so is found.
    """
    us, libc = psutil.Process(), ctypes.CDLL(None, use_errno=True)
    before = us.children()
    if libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    try:
        yield
    finally:
        deadline = time.monotonic() + _KILL_SECONDS
        while left := [child for child in us.children() if child not in before]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"these do not end: {left}")
            for process in [one for child in left for one in (*_below(child), child)]:
                # psutil holds a process by its start, so a pid that another has now is left alone.
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
        libc.prctl(_CHILD_SUBREAPER, 0, 0, 0, 0)


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found
