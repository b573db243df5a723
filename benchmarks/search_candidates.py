"""Candidates of ``benchmarks.search_scale``: processes that hold an index, and the search parameters they need."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Peer, PeerFailed, peer_python
from benchmarks.search_data import SearchData

__all__ = ["RECALL_GOAL", "TWIN", "Candidate", "build_missing", "index_folder", "running_candidate", "sweep"]

RECALL_GOAL = 0.95
TWIN = ", recall of ours"
"""Marks raw FAISS with what it takes to reach the recall that ours chose."""

_REQUIREMENTS = [
    "hnswlib==0.8.*",
    "usearch==2.26.*",
    "lancedb==0.40.*",
    "pylance==14.*",
    "faiss-cpu==1.15.*",
    "numpy",
]
_PROGRAMS = {"ours": Path(__file__).with_name("search_ours.py")}
_PEER_PROGRAM = Path(__file__).with_name("search_peer.py")
_BUILD_SECONDS = 3000.0
_MOST_BREADTH = 2048
_PLATEAU_BREADTH, _PLATEAU = 32, 0.002
_SLOW_SECONDS, _QUERIES_OF_SLOW = 0.0015, 200  # so that the whole fits in the time there is

_REFINES: Mapping[str, tuple[int, ...]] = {
    "faiss ivf-pq": (4, 10, 20, 40),
    "faiss ivf-int8": (0, 2),
    "lancedb ivf-pq": (5, 10, 20, 50),
    "lancedb ivf-hnsw-sq": (1, 3, 8, 20),
}
"""How many times the answer each candidate may fetch and score again (LanceDB's graphs: also their breadth)."""


@dataclass(slots=True)
class Candidate:
    """A running candidate and what it is asked with."""

    name: str
    peer: Peer
    opened: dict[str, Any]
    queries: int
    breadth: int = 0
    refine: int = 0
    queries_per_second: dict[int, list[float]] = field(default_factory=lambda: {1: [], 2: []})
    milliseconds: dict[str, list[float]] = field(default_factory=lambda: {"p50": [], "p99": []})
    recall: float = 0.0

    def found(self, data: SearchData) -> float:
        """The recall of the queries it is timed with."""
        return data.recall(np.array(self.ask(self.queries)["ids"]), data.truth[: self.queries])

    def ask(self, count: int, callers: int = 1, **more: Any) -> dict[str, Any]:
        """Time so many queries."""
        question = {"do": "search", "breadth": self.breadth, "refine": self.refine, "count": count}
        return self.peer.ask({**question, "callers": callers, **more}, timeout_seconds=900)


def index_folder(name: str, data: SearchData) -> Path:
    """Where a candidate keeps what it built."""
    return data.folder / "indexes" / name.replace(" ", "-")


class running_candidate:  # noqa: N801 - reads as a word: ``with running_candidate(...) as candidate``
    """A candidate over its built index (or that builds it and is done), whose process ends with the block."""

    def __init__(self, name: str, data: SearchData, threads: int) -> None:
        library = name.split(" ")[0]
        program = _PROGRAMS.get(library, _PEER_PROGRAM)
        python = Path(sys.executable) if library in _PROGRAMS else peer_python("search", _REQUIREMENTS)
        arguments = [name, str(data.folder), str(index_folder(name, data)), str(threads)]
        self._peer = Peer(python, program, arguments, {"OMP_NUM_THREADS": str(threads)})
        self._name = name
        self._queries = len(data.queries)

    def __enter__(self) -> Candidate:
        try:
            opened = self._peer.ask({"do": "open"}, timeout_seconds=_BUILD_SECONDS)
        except PeerFailed:
            self._peer.close()
            raise
        return Candidate(self._name, self._peer, opened, self._queries)

    def __exit__(self, *_: object) -> None:
        self._peer.close()


def build_missing(name: str, data: SearchData, threads: int) -> None:
    """Let a candidate build its index, unless it has. Raises ``PeerFailed``."""
    if (index_folder(name, data) / "built.json").exists():
        return
    begun = time.perf_counter()
    with running_candidate(name, data, threads):
        print(f"built {name} in {time.perf_counter() - begun:.0f} s", flush=True)


def sweep(candidate: Candidate, data: SearchData, goal: float = RECALL_GOAL) -> None:
    """Find the cheapest parameters that reach the goal; ours has none, it chose its own."""
    candidate.breadth = 1
    if candidate.ask(50)["seconds"] / 50 > _SLOW_SECONDS:
        candidate.queries = min(_QUERIES_OF_SLOW, candidate.queries)
    if candidate.name.startswith("ours"):
        candidate.breadth, candidate.recall = 0, candidate.found(data)
        print(f"{candidate.name}: recall {candidate.recall:.3f}", flush=True)
        return
    best: tuple[float, int, int, float] | None = None
    for refine in _REFINES.get(candidate.name.removesuffix(TWIN), (0,)):
        candidate.refine = refine
        breadth, recall = _least_breadth(candidate, data, goal)
        if recall < goal:
            continue
        candidate.breadth = breadth
        seconds = candidate.ask(candidate.queries)["seconds"]
        if best is None or seconds < best[0]:
            best = (seconds, breadth, refine, recall)
    if best is None:
        raise PeerFailed(f"'{candidate.name}' does not reach a recall of {goal:.3f}.")
    _, candidate.breadth, candidate.refine, candidate.recall = best
    print(
        f"{candidate.name}: breadth {candidate.breadth}, refine {candidate.refine}, recall {candidate.recall:.3f}",
        flush=True,
    )


def _least_breadth(candidate: Candidate, data: SearchData, goal: float) -> tuple[int, float]:
    """By doubling and halving: the smallest breadth with which the timed queries reach the goal, and its recall."""
    seen: dict[int, float] = {}

    def recall(breadth: int) -> float:
        if breadth not in seen:
            candidate.breadth = breadth
            seen[breadth] = candidate.found(data)
        return seen[breadth]

    high = 1
    while recall(high) < goal and high < _MOST_BREADTH:
        if high >= _PLATEAU_BREADTH and recall(high) - recall(high // 2) < _PLATEAU:
            return high, recall(
                high
            )  # more of the same does not help: what it fetches is too little or too coarse
        high *= 2
    low = high // 2
    while high - low > max(1, high // 32):
        middle = (low + high) // 2
        low, high = (low, middle) if recall(middle) >= goal else (middle, high)
    return high, recall(high)
