"""What `drain-node`, a pod's preStop hook, does on real Ray: streams end whole before their machine does.

A head and two workers on this host; one replica on one of the workers streams numbered pieces when the hook runs
for that machine. ``make bench-node-drain``; exit code 1 when a piece is lost, a new call fails, or the machine
stays.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from benchmarks.report import write

_HOOK = Path(__file__).resolve().parent.parent / "deploy/docker/drain-node.sh"
_PIECES = 125
_PIECE_SECONDS = 0.2
_PATIENCE_SECONDS = 120


class Counter:
    """Counts aloud, and tells which machine it is on."""

    async def count(self, pieces: int) -> AsyncIterator[int]:
        """So many numbers at a fixed pace."""
        for number in range(pieces):
            await asyncio.sleep(_PIECE_SECONDS)
            yield number

    def where(self) -> str:
        """The machine's id."""
        import ray

        return str(ray.get_runtime_context().get_node_id())


def hook(address: str, node: str, folder: Path) -> subprocess.Popen[bytes]:
    """The hook as a pod runs it. In a pod it finds its own machine; here two share an address, so it is told."""
    binaries = Path(sys.executable).parent
    (folder / "ray").write_text(
        f'#!/bin/sh\nexec "{binaries}/ray" "$@" --address {address} --node-id {node}\n', "utf-8"
    )
    (folder / "ray").chmod(0o700)
    (folder / "python").symlink_to(sys.executable)
    return subprocess.Popen(
        [_HOOK, str(_PATIENCE_SECONDS)],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "DRAIN_NODE_LOG": str(folder / "said")},
    )


def measure(folder: Path) -> dict[str, Any]:
    """Drain the machine under a stream: seconds until each thing was seen, and what was lost."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, resources={"pool": 1}, **small)
        ray.init(cluster.address, logging_level=logging.ERROR, log_to_driver=False)
        serve.start(http_options={"port": 0}, logging_config={"log_level": "WARNING"})
        options = {"num_cpus": 0, "resources": {"pool": 0.01}}
        application = serve.deployment(
            Counter, ray_actor_options=options, graceful_shutdown_timeout_s=_PATIENCE_SECONDS
        ).bind()
        handle = serve.run(application, name="count", route_prefix=None)
        leaving = handle.where.remote().result(timeout_s=60)
        stream = handle.options(stream=True).count.remote(_PIECES)
        received: list[int] = []
        ended = threading.Event()

        def read() -> None:
            try:
                received.extend(stream)
            finally:
                ended.set()

        threading.Thread(target=read, daemon=True).start()
        seen: dict[str, float] = {}
        failed = 0
        started = time.monotonic()
        running = hook(cluster.address, leaving, folder)
        while len(seen) < 3 and time.monotonic() - started < _PATIENCE_SECONDS:
            time.sleep(0.25)
            now = time.monotonic() - started
            try:
                elsewhere = handle.where.remote().result(timeout_s=10) != leaving
            except Exception:
                failed += 1
                continue
            alive = next(node["Alive"] for node in ray.nodes() if node["NodeID"] == leaving)
            for what, is_so in (("moved", elsewhere), ("stream_ended", ended.is_set()), ("left", not alive)):
                if is_so:
                    seen.setdefault(f"{what}_seconds", round(now, 1))
        running.kill()  # the health check that it waits for is of another machine on this address
        running.wait()
        return {**seen, "pieces_lost": _PIECES - len(received), "calls_failed": failed}
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> int:
    """Measure, print, write ``results/node_drain.json``; the exit code says whether the goals were met."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder))
    met = (
        result["pieces_lost"] == result["calls_failed"] == 0
        and result.keys() >= {"moved_seconds", "stream_ended_seconds", "left_seconds"}
        and result["stream_ended_seconds"] <= result["left_seconds"]
    )
    result |= {"stream_seconds": _PIECES * _PIECE_SECONDS, "goal_met": met}
    print(result)
    print(write("node_drain", result))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
