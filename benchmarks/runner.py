"""Runs one benchmark as a process of its own, for as long as it may take, and says how that ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

__all__ = ["Run", "run"]

_STOP_SECONDS = 90.0
"""What a benchmark may take to stop its servers."""


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

    It is interrupted (as by Ctrl-C, so that it stops its servers) when it is over its limit, and killed with all it
    has started when that does not help. A benchmark ends with 1 when it misses its goals and when it breaks, so
    what counts is whether it wrote ``result``.
    """
    began, clock = time.time(), time.perf_counter()
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
    """Its servers run in sessions of their own, so its children are remembered before it is interrupted."""
    tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    process.send_signal(signal.SIGINT)
    try:
        process.wait(stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()  # psutil holds a process by its start, so a pid that another has now is left alone
