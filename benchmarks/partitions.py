"""A machine is cut off for a minute, nobody is told: cache, bucket, a worker, the head's Redis. What users see.

The cluster, its application and its users are those of ``benchmarks/chaos.py``. As the design says: without the
cache nothing is lost; without the bucket, where API keys lie, new requests answer 503 and streams go on; without
a worker others answer what it would have, and its streams end with an error. ``make bench-partitions``; exit code 1
when it is otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chaos_cluster import PACE, chaos_cluster
from benchmarks.report import RESULTS, write
from benchmarks.steady_load import Ask, Load, counted
from tests.balancer import Balancer
from tests.ray_nodes import API_PORT, Cluster, wait_for

__all__ = ["as_designed", "partition", "told"]

MACHINES = {"cache": "cache", "bucket": "bucket", "worker": "two", "gcs-store": "gcs-store"}
_GOAL_SHARE = 0.999
_BEFORE_SECONDS = 5.0
_AFTER_SECONDS = 10.0
_PATIENCE_SECONDS = 180.0
_STALLED_SECONDS = (
    45.0  # RequestLimits: a stream that is silent for 30 s ends with an error; and some patience
)


async def partition(cluster: Cluster, url: str, name: str, seconds: float) -> dict[str, Any]:
    """Cut a machine off for so long under load; what was seen."""
    machine = cluster.machines[MACHINES[name]]
    async with Load(url, cluster.key, uploads=1) as load:
        await asyncio.sleep(_BEFORE_SECONDS)
        cut = time.time()
        machine.cut()
        try:
            await asyncio.sleep(seconds)
        finally:
            machine.mend()
        mended = time.time()
        await asyncio.to_thread(_revive, cluster)
        whole = time.time() - mended
        await asyncio.sleep(_AFTER_SECONDS)
        over = time.time() - _AFTER_SECONDS / 2
    return told(load.asks, cut, mended, over, whole)


def _revive(cluster: Cluster) -> None:
    """A worker that was declared dead ends itself when it hears so, and is started anew, as Kubernetes does."""

    def whole() -> bool:
        cluster.revive()
        # Who was cut off learns only later that it was given up: without it all replicas may run already.
        return cluster.whole() and len(cluster.joined(60)) == len(cluster.nodes)

    wait_for(whole, _PATIENCE_SECONDS, 0.5)


def told(asks: Sequence[Ask], cut: float, mended: float, over: float, whole: float) -> dict[str, Any]:
    """What users saw: those asked before the cut, while it lasted, until all was well, and afterwards."""

    def phase(begin: float, end: float) -> dict[str, Any]:
        within = [ask for ask in asks if begin <= ask.begun < end]
        return {
            "asked": counted(within),
            "slowest_answer_seconds": round(
                max((ask.seconds for ask in within if ask.kind != "stream"), default=0.0), 1
            ),
            "longest_gap_in_stream_seconds": round(max((ask.longest_gap for ask in within), default=0.0), 1),
        }

    failed = [ask.ended - cut for ask in asks if ask.outcome != "complete"]
    return {
        "cut_seconds": round(mended - cut, 1),
        "whole_seconds_after_mending": round(whole, 1),
        "before": phase(0.0, cut),
        "meanwhile": phase(cut, mended),
        "until_whole": phase(mended, over),
        "after": phase(over, time.time()),
        "failures_seconds_after_cut": [round(one, 1) for one in (min(failed), max(failed))] if failed else [],
        "messages": sorted({ask.message for ask in asks if ask.message})[:8],
    }


def as_designed(name: str, seen: dict[str, Any]) -> list[str]:
    """What was otherwise than the design says."""
    phases = [seen[phase]["asked"] for phase in ("before", "meanwhile", "until_whole", "after")]

    def ends(kinds: Container[str], among: Sequence[dict[str, dict[str, int]]]) -> Counter[str]:
        found: Counter[str] = Counter()
        for asked in among:
            for kind, outcomes in asked.items():
                if kind in kinds:
                    found.update(outcomes)
        return found

    wrong = []
    if name == "bucket":
        # Who comes in is read there, and a revoked key must not outlive it: without the bucket nobody comes in.
        if set(ends(("chat", "embedding", "upload"), phases)) - {"complete", "error"}:
            wrong.append("something was neither answered nor refused")
        if "error" not in ends(("upload",), [seen["meanwhile"]["asked"]]):
            wrong.append("uploads without a bucket were not refused")
        if any(not message.startswith("503") for message in seen["messages"]):
            wrong.append("something was refused otherwise than with 503")
        if set(seen["before"]["asked"]["stream"]) - {"complete"}:
            wrong.append("streams that ran when it went did not come to their end")
    else:
        plain = ends(("chat", "embedding"), phases)
        share = plain["complete"] / plain.total()
        if share < _GOAL_SHARE:
            wrong.append(f"only {share:.5f} of chats and embeddings were answered")
    if name == "cache" and set(ends(("upload", "stream"), phases)) - {"complete"}:
        wrong.append("uploads or streams failed without the cache")
    if {"silent", "running"} & set(ends(("stream",), phases)):
        wrong.append("a stream ended silently")
    if set(ends(("chat", "embedding", "stream", "upload"), phases[-1:])) - {"complete"}:
        wrong.append("not all was answered after it was mended")
    longest = max(
        seen[phase]["longest_gap_in_stream_seconds"] for phase in ("before", "meanwhile", "until_whole")
    )
    if longest > _STALLED_SECONDS:
        wrong.append(f"a stream said nothing for {longest} s")
    return wrong


def main() -> int:
    """Measure, print, write ``results/partitions.json``."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--parts", nargs="+", choices=list(MACHINES), default=list(MACHINES))
    options.add_argument("--seconds", type=float, default=60.0)
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the cluster would outlive this
    path = RESULTS / "partitions.json"
    parts = json.loads(path.read_text("utf-8"))["parts"] if path.exists() else {}
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as name, chaos_cluster(Path(name)) as cluster:
        cluster.join()
        cluster.deploy(PACE)
        nodes = {node: f"{machine.address}:{API_PORT}" for node, machine in cluster.nodes.items()}
        with Balancer(Path(name), nodes) as url:
            for part in given.parts:
                seen = asyncio.run(partition(cluster, url, part, given.seconds))
                parts[part] = {**seen, "otherwise_than_designed": as_designed(part, seen)}
                print(part, json.dumps(parts[part]), flush=True)
                # At once: what was measured must not be lost with a part that fails after it.
                written = write(
                    "partitions",
                    {
                        "parts": {part: parts[part] for part in MACHINES if part in parts},
                        "goals": {"success_share_min": _GOAL_SHARE, "otherwise_than_designed": []},
                    },
                )
    print(f"Written to {written}")
    return 1 if any(part["otherwise_than_designed"] for part in parts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
