"""Kill -9 of what a cluster is made of, while OpenAI's client asks: what users see, and when all is whole.

Three Ray nodes in network namespaces (``tests/ray_nodes.py``), the real application with stand-ins for its models.
Goals: 99.9 % of answers that are not streamed come, with the client's own retries; no stream ends silently; all is
whole 30 s after a kill, 60 s after the head's. A machine that lost its power is started anew at once, as Kubernetes
does with its pod. ``make bench-chaos``; exit code 1 when a goal is missed. ``--parts`` runs some of it, and keeps
what the results file says of the others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos_cluster import ALONE, PACE, chaos_cluster
from benchmarks.plots import bars
from benchmarks.report import RESULTS, write
from benchmarks.steady_load import Ask, Load, counted
from tests.balancer import Balancer
from tests.ray_nodes import API_PORT, Cluster, wait_for

__all__ = ["Kill", "broken_cluster", "kill_controller", "kill_node", "kill_proxy", "kill_replica", "summary"]

_PARTS = ("replicas", "controller", "proxy", "node", "head")
_KINDS = ("engine", "text", "gateway", "engine", "search")
_GOAL_SECONDS = {"head": 60.0}
_GOAL_SHARE = 0.999
_PATIENCE_SECONDS = 180.0
_QUIET_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Kill:
    """What was killed, when (``time.time``), and after how many seconds every deployment had all its replicas."""

    target: str
    at: float
    whole_seconds: float


def kill_replica(cluster: Cluster, deployment: str, number: int) -> Kill:
    """Kill one of a deployment's replicas and wait."""
    pids = sorted(cluster.replicas()[deployment]["pids"])
    psutil.Process(pids[number % len(pids)]).kill()
    return _waited(cluster, deployment)


def kill_controller(cluster: Cluster) -> Kill:
    """Kill Ray Serve's controller and wait."""
    (process,) = cluster.machines["head"].titled("ray::ServeController")
    process.kill()
    return _waited(cluster, "controller")


def kill_proxy(cluster: Cluster, node: str) -> Kill:
    """Kill the HAProxy of a node and wait until one answers there again."""
    machine = cluster.machines[node]
    killed = machine.titled("haproxy")
    for process in killed:
        process.kill()
    at = time.time()
    gone = {process.pid for process in killed}
    wait_for(lambda: {p.pid for p in machine.titled("haproxy")} - gone, _PATIENCE_SECONDS)
    return Kill("proxy", at, (wait := _waited(cluster, "proxy")).whole_seconds + wait.at - at)


def kill_node(cluster: Cluster, node: str) -> tuple[Kill, float]:
    """Take a machine's power and start it again at once. Its only pools are not waited for; the seconds until they
    were back, too, are given beside.
    """
    machine = cluster.machines[node]
    at = time.time()
    machine.power_off()
    cluster.start_node(node)
    kill = _waited(cluster, "head" if node == "head" else "node", () if node == "head" else ALONE, at)
    wait_for(cluster.whole, _PATIENCE_SECONDS)
    return kill, time.time() - at


def _waited(cluster: Cluster, target: str, but: Any = (), at: float | None = None) -> Kill:
    at = at or time.time()

    def whole() -> bool:
        cluster.revive()
        return cluster.whole(but)

    wait_for(whole, _PATIENCE_SECONDS)
    return Kill(target, at, time.time() - at)


def broken_cluster(
    cluster: Cluster, folder: Path, parts: Sequence[str], kills: int
) -> Iterator[tuple[str, list[Kill], list[Ask], float | None]]:
    """Deploy, then kill part by part under load: the part, its kills, what users asked, and after how many seconds
    the pools were back that are on one machine only.
    """
    cluster.join()
    cluster.deploy(PACE)
    addresses = {name: f"{machine.address}:{API_PORT}" for name, machine in cluster.nodes.items()}
    with Balancer(folder, addresses) as url:
        for part in parts:
            done: list[Kill] = []
            alone: dict[str, float] = {}
            asks = asyncio.run(_under_load(cluster, url, part, kills, done, alone))
            yield part, done, asks, alone.get(part)


async def _under_load(
    cluster: Cluster, url: str, part: str, kills: int, done: list[Kill], alone: dict[str, float]
) -> list[Ask]:
    async with Load(url, cluster.key) as load:
        await asyncio.sleep(_QUIET_SECONDS)
        for number in range(kills if part == "replicas" else 1):
            if part == "replicas":
                kind = _KINDS[number % len(_KINDS)]
                kill = await asyncio.to_thread(kill_replica, cluster, kind, number // len(_KINDS))
            elif part == "controller":
                kill = await asyncio.to_thread(kill_controller, cluster)
            elif part == "proxy":
                kill = await asyncio.to_thread(kill_proxy, cluster, "one")
            else:
                node = "head" if part == "head" else "two"
                kill, alone[part] = await asyncio.to_thread(kill_node, cluster, node)
            done.append(kill)
            print(f"  {kill.target}: whole after {kill.whole_seconds:.1f} s", flush=True)
            await asyncio.sleep(_QUIET_SECONDS)
    return load.asks


def summary(kills: Sequence[Kill], asks: Sequence[Ask]) -> dict[str, Any]:
    """Of one part: what users saw, and how long things took."""
    whole = [ask for ask in asks if ask.kind != "stream"]
    streams = [ask for ask in asks if ask.kind == "stream"]
    failed = [ask for ask in whole if ask.outcome != "complete"]
    seconds = [kill.whole_seconds for kill in kills]
    by_target: dict[str, list[float]] = {}
    for kill in kills:
        by_target.setdefault(kill.target, []).append(kill.whole_seconds)
    return {
        "kills": len(kills),
        "seconds": round(max(ask.ended for ask in asks) - min(ask.begun for ask in asks), 1),
        "whole_seconds": {"median": round(statistics.median(seconds), 1), "max": round(max(seconds), 1)},
        "whole_seconds_by_target": {
            name: {"median": round(statistics.median(one), 1), "max": round(max(one), 1)}
            for name, one in by_target.items()
        },
        "asked": counted(asks),
        "success_share": round(1 - len(failed) / max(1, len(whole)), 5),
        "slowest_answer_seconds": round(max((ask.seconds for ask in whole), default=0.0), 1),
        "longest_gap_in_stream_seconds": round(max((ask.longest_gap for ask in streams), default=0.0), 1),
        "silent_streams": sum(ask.outcome in ("silent", "running") for ask in streams),
        "messages": sorted({ask.message for ask in asks if ask.message})[:8],
    }


def main() -> int:
    """Measure, print, write ``results/chaos.json``."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    options.add_argument("--kills", type=int, default=50, help="of replicas")
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the cluster would outlive this
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as name, chaos_cluster(Path(name)) as cluster:
        for part, kills, asks, alone in broken_cluster(cluster, Path(name), given.parts, given.kills):
            seen = {**summary(kills, asks), "goal_seconds": _GOAL_SECONDS.get(part, 30.0)}
            if alone is not None:
                seen["lone_pools_back_seconds"] = round(alone, 1)
            print(part, json.dumps(seen), flush=True)
            met = _write(part, seen)
    return 0 if met else 1


def _write(part: str, seen: dict[str, Any]) -> bool:
    """Put a part beside those that were measured before; whether all that is there meets the goals."""
    path = RESULTS / "chaos.json"
    parts = json.loads(path.read_text("utf-8"))["parts"] if path.exists() else {}
    parts[part] = seen
    whole = [
        (outcome, count)
        for one in parts.values()
        for kind, outcomes in one["asked"].items()
        for outcome, count in outcomes.items()
        if kind != "stream"
    ]
    share = sum(count for outcome, count in whole if outcome == "complete") / sum(count for _, count in whole)
    silent = sum(one["silent_streams"] for one in parts.values())
    result = {
        "success_share": round(share, 5),
        "silent_streams": silent,
        "goals": {"success_share_min": _GOAL_SHARE, "silent_streams": 0},
        "parts": {name: parts[name] for name in _PARTS if name in parts},
    }
    seconds = {
        target: (one["median"], one["median"], one["max"])
        for seen in parts.values()
        for target, one in seen["whole_seconds_by_target"].items()
    }
    bars("chaos", "Killed under load: when all is whole again", "seconds", seconds, 30.0)
    print(f"answers {share:.5f}, silent streams {silent}. Written to {write('chaos', result)}", flush=True)
    in_time = all(one["whole_seconds"]["max"] <= one["goal_seconds"] for one in parts.values())
    return share >= _GOAL_SHARE and not silent and in_time


if __name__ == "__main__":
    sys.exit(main())
