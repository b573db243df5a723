"""Warm start of the platform: seconds from the command to `/ready`, what takes them, and the memory it holds.

``make bench-start`` runs it. Goal: ready in 40 seconds on two cores, within 8 GB.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.chat import platform_command
from benchmarks.report import summary, write
from benchmarks.servers import Server, server
from deploy.ports import free_port
from deploy.settings import load_settings

READY_GOAL_SECONDS = 40
MEMORY_GOAL_GIB = 8
_PROGRESS = re.compile(r"^ +([\d.]+) s  (\w+) +(\w+)$", re.MULTILINE)


def main() -> int:
    """Start and stop the platform several times; write ``results/start.json``."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()

    ready: list[float] = []
    stages: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder:
        for number in range(given.rounds):
            log = Path(folder) / f"{number}.log"
            settings = load_settings({"port": free_port(), "data_dir": Path(folder) / "data"})
            base_url = f"http://127.0.0.1:{settings.port}"
            with server(platform_command(settings), base_url, "/ready", log) as running:
                ready.append(running.start_seconds)
                memory = _memory_gib(running)
            for seconds, name, state in _PROGRESS.findall(log.read_text("utf-8")):
                if state in ("running", "healthy"):
                    stages.setdefault(name, []).append(float(seconds))
            print(f"round {number + 1}: ready in {ready[-1]:.1f} s", flush=True)
    total = round(sum(memory.values()), 2)
    result = {
        "ready_seconds": summary(ready),
        "stage_ready_at_seconds": {name: summary(values) for name, values in stages.items()},
        "memory_gib": {"total": total, **memory},
        "goals": {"ready_seconds_max": READY_GOAL_SECONDS, "memory_gib_max": MEMORY_GOAL_GIB},
    }
    print(f"ready in {result['ready_seconds']}, {total} GiB; written to {write('start', result)}")
    return 1 if summary(ready)["median"] > READY_GOAL_SECONDS or total > MEMORY_GOAL_GIB else 0


def _memory_gib(running: Server) -> dict[str, float]:
    """Proportional memory (shared pages counted once) by kind of process."""
    kinds: dict[str, float] = {}
    for process in [running.process, *running.process.children(recursive=True)]:
        try:
            command = " ".join(process.cmdline())
            held = process.memory_full_info().pss / (1 << 30)
        except psutil.NoSuchProcess:
            continue
        replica = re.search(r"ServeReplica:manymodal:(\w+)", command)
        kind = replica[1] if replica else "engine core" if "EngineCore" in command else "Ray and helpers"
        kinds[kind] = round(kinds.get(kind, 0) + held, 2)
    return kinds


if __name__ == "__main__":
    sys.exit(main())
