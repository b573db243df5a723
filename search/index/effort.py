"""How hard an approximate index has to look: found by trial when it is built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from search.index.scan import Positions, Scored, scores_at
from search.types import Vector

__all__ = ["Effort", "Searchable", "calibrated", "trial_queries"]

_TARGET_RECALL = 0.96  # of the best rows; search promises 0.95
_DEPTHS = (16, 128, 1024)  # a page of ten documents takes 15 rows, of those that have one each
_OVER_FETCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_TRIALS = 96
_STRAY_ROWS = 4096
_STRAY_SHARE = 0.9995  # of rows stray less: the best of some thousands are the ones that stray most
_MIN_DEPTH_SHARE = 20  # as many times the depth must there be rows, else a scan is as good


@dataclass(frozen=True, slots=True)
class Effort:
    """``breadths[i]`` is what finding the ``depths[i]`` best takes (cells to probe, or candidates to keep), and an
    index that does not hold full vectors is asked for ``over_fetch`` times as many.

    A row's score is ``slope`` times the similarity of query and cell centre, give or take ``margin`` (hardly ever
    more); of use to indexes with cells.
    """

    depths: tuple[int, ...]
    breadths: tuple[int, ...]
    over_fetch: float
    max_breadth: int
    slope: float = 1.0
    margin: float = 2.0

    def breadth(self, depth: float) -> int:
        """For finding the ``depth`` best."""
        return self.breadths[0] if depth <= self.depths[0] else _breadth(self, depth)

    def breadths_for(self, depths: NDArray[np.float64]) -> NDArray[np.int64]:
        """``breadth`` of many depths: interpolated in logarithms, and proportional beyond what was tried."""
        tried = np.log(np.asarray(self.depths, dtype=np.float64))
        found = np.log(np.asarray(self.breadths, dtype=np.float64))
        wanted = np.log(np.maximum(depths, 1.0))
        beyond = np.maximum(wanted - tried[-1], 0.0)
        breadths = np.ceil(np.exp(np.interp(wanted, tried, found) + beyond) - 1e-6)
        whole: NDArray[np.int64] = np.minimum(breadths, self.max_breadth).astype(np.int64)
        return whole

    def as_json(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Effort:
        """From a manifest; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        effort = cls(
            tuple(map(int, fields["depths"])),
            tuple(map(int, fields["breadths"])),
            float(fields["over_fetch"]),
            int(fields["max_breadth"]),
            float(fields["slope"]),
            float(fields["margin"]),
        )
        if not effort.depths or len(effort.depths) != len(effort.breadths):
            raise ValueError("An index's effort has no depths.")
        return effort


@lru_cache(maxsize=1024)  # NumPy takes as long for one number as an index takes for a search
def _breadth(effort: Effort, depth: float) -> int:
    return int(effort.breadths_for(np.array([depth]))[0])


class Searchable(Protocol):
    """What is tried."""

    scores_are_exact: bool

    def search(self, vector: Vector, count: int, breadth: int) -> Scored: ...

    def promise(self, queries: Vector, rows: Positions) -> Vector | None: ...


def trial_queries(vectors: Vector, recent: Sequence[Vector], seed: int) -> list[Vector]:
    """Queries to try an index with, in groups that must each do well: rows moved a little, and what was really
    asked lately, which may lie quite elsewhere (words that look for pictures do).
    """
    chance = np.random.default_rng(seed)
    rows = vectors[np.sort(chance.choice(len(vectors), min(_TRIALS, len(vectors)), replace=False))]
    noise = chance.standard_normal(rows.shape).astype(np.float32)
    moved = rows + noise * np.float32(0.75 / np.sqrt(rows.shape[1]))
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    groups = [np.ascontiguousarray(moved, dtype=np.float32)]
    if len(recent) >= _TRIALS // 2:
        groups.append(np.ascontiguousarray(np.stack(list(recent)[-_TRIALS:]), dtype=np.float32))
    return groups


def calibrated(
    index: Searchable, vectors: Vector, groups: Sequence[Vector], breadths: Sequence[int], threads: int
) -> Effort:
    """The least effort that finds ``_TARGET_RECALL`` of the true best, for each depth, on each group of queries."""
    depths = [d for d in _DEPTHS if d * _MIN_DEPTH_SHARE <= len(vectors)] or [min(_DEPTHS[0], len(vectors))]
    faiss.omp_set_num_threads(threads)
    truths = [faiss.knn(group, vectors, depths[-1], faiss.METRIC_INNER_PRODUCT)[1] for group in groups]
    faiss.omp_set_num_threads(1)
    trials = list(zip(groups, truths, strict=True))
    over_fetch = 1.0
    if not index.scores_are_exact:
        over_fetch = _least(
            _OVER_FETCH, lambda f: _recall(index, vectors, trials, depths[0], breadths[-1], f)
        )
    found: list[int] = []
    for depth in depths:
        at_least = found[-1] if found else 0
        candidates = [b for b in breadths if b >= at_least] or [breadths[-1]]
        found.append(
            _least(candidates, lambda b, depth=depth: _recall(index, vectors, trials, depth, b, over_fetch))
        )
    slope, margin = _strays(index, vectors, groups)
    return Effort(tuple(depths), tuple(found), over_fetch, breadths[-1], slope, margin)


def _strays(index: Searchable, vectors: Vector, groups: Sequence[Vector]) -> tuple[float, float]:
    """``Effort.slope`` and ``Effort.margin``, from trial queries against a sample of rows."""
    chance = np.random.default_rng(len(vectors))
    rows = np.sort(chance.choice(len(vectors), min(_STRAY_ROWS, len(vectors)), replace=False))
    sample = vectors[rows]
    slopes, pairs = [], []
    for queries in groups:
        promised = index.promise(queries, rows)
        if promised is None:
            return 1.0, 2.0
        scores = queries @ sample.T
        slopes.append(float((scores * promised).sum() / max((promised * promised).sum(), 1e-9)))
        pairs.append((scores, promised))
    slope = max(slopes)
    margins = [float(np.quantile(scores - slope * promised, _STRAY_SHARE)) for scores, promised in pairs]
    return slope, max(margins)


def _least(candidates: Iterable[Any], recall: Any) -> Any:
    chosen = None
    for candidate in candidates:
        chosen = candidate
        if recall(candidate) >= _TARGET_RECALL:
            break
    return chosen


def _recall(
    index: Searchable,
    vectors: Vector,
    trials: Sequence[tuple[Vector, Positions]],
    depth: int,
    breadth: int,
    over_fetch: float,
) -> float:
    """Of the worst group."""
    worst = 1.0
    fetch = min(int(np.ceil(depth * over_fetch)), len(vectors))
    for queries, truth in trials:
        found = 0
        for query, true in zip(queries, truth, strict=True):
            positions = index.search(query, fetch, breadth)[1]
            if fetch > depth:
                scores = scores_at(vectors, query, positions)
                positions = positions[np.argsort(-scores, kind="stable")[:depth]]
            found += len(np.intersect1d(positions, true[:depth], assume_unique=True))
        worst = min(worst, found / (len(queries) * depth))
    return worst
