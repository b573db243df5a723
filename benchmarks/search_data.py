"""Vectors for benchmarks of search: clustered, seeded, kept on disk with their exact answers.

Embeddings of real media crowd together at many scales, and within a crowd few directions matter. So do these: 40
themes; a cluster for every 200 rows (5,000 at a million), each near a theme, sized by Zipf's law (at a million from
40 to 10,000 rows) and of its own width (log-normal); a cluster spreads along 48 directions, each of less importance
than the one before, which one cluster in 200 shares; noise in all 512 directions comes on top. Queries are further
draws from the same distribution: none of them is a stored vector. The local intrinsic dimension around them
(maximum likelihood over 100 neighbours, Amsaleg et al. 2015) has a median of 20 at 200,000 rows and deciles of 3
and 31: neither the few dimensions in which any index is fast, nor the hundreds of a plain cloud around each centre.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

__all__ = ["DIMENSIONS", "SELECTIVITIES", "TOP_K", "SearchData", "draw", "search_data"]

DIMENSIONS, TOP_K = 512, 10
SELECTIVITIES = {"10 %": 100, "1 %": 10, "0.1 %": 1}
"""A row's ``lot`` is a number from 0 to 999; the filter is that it is below this."""

_SEED = 20261128
_THEMES, _BASES, _LOCAL_DIMENSIONS = 40, 200, 48
_ROWS_PER_CLUSTER, _LEAST_CLUSTERS = 200, 400
_NOISE = 0.3
_BLOCK_ROWS = 25_000

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SearchData:
    """``vectors`` (mapped) and ``queries`` have norm 1; ``truth`` are the nearest rows of each query, ``filtered``
    those among the rows that a filter leaves.
    """

    folder: Path
    vectors: Vectors
    queries: Vectors
    lots: Ids
    truth: Ids
    filtered: Mapping[str, Ids]

    def recall(self, found: Ids, truth: Ids | None = None) -> float:
        """The share of the exact answers that was found (ann_recall_at_10)."""
        wanted = self.truth if truth is None else truth
        hits = sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), wanted.tolist(), strict=True))
        return hits / sum(len(row) for row in wanted.tolist())


class _Distribution:
    def __init__(self, rows: int) -> None:
        dice = np.random.default_rng(_SEED)
        count = max(_LEAST_CLUSTERS, rows // _ROWS_PER_CLUSTER)
        themes = _normalised(dice.standard_normal((_THEMES, DIMENSIONS), dtype=np.float32))
        own = _normalised(dice.standard_normal((count, DIMENSIONS), dtype=np.float32))
        self._centres = _normalised(0.6 * themes[dice.integers(_THEMES, size=count)] + 0.8 * own)
        self._bases = np.stack(
            [np.linalg.qr(dice.standard_normal((DIMENSIONS, _LOCAL_DIMENSIONS)))[0].T for _ in range(_BASES)]
        ).astype(np.float32)
        self._basis_of = dice.integers(_BASES, size=count)
        self._width_of = dice.lognormal(np.log(0.35), 0.4, count).astype(np.float32)
        weights = 1 / (np.arange(count) + 10.0) ** 0.9
        self._shares = weights / weights.sum()
        scales = np.arange(1, _LOCAL_DIMENSIONS + 1) ** -0.25
        self._scales = (2 * scales / np.linalg.norm(scales)).astype(np.float32)

    def draw(self, count: int, dice: np.random.Generator) -> Vectors:
        owners = dice.choice(len(self._shares), count, p=self._shares)
        local = dice.standard_normal((count, _LOCAL_DIMENSIONS), dtype=np.float32)
        local *= self._scales * self._width_of[owners, None]
        drawn = self._centres[owners]
        basis = self._basis_of[owners]
        for number in np.unique(basis):
            rows = basis == number
            drawn[rows] += local[rows] @ self._bases[number]
        drawn += dice.standard_normal(drawn.shape, dtype=np.float32) * np.float32(
            _NOISE / np.sqrt(DIMENSIONS)
        )
        return _normalised(drawn)


def draw(rows: int, queries: int) -> tuple[Vectors, Vectors]:
    """Few rows, in memory, and queries."""
    distribution = _Distribution(rows)
    return (
        distribution.draw(rows, np.random.default_rng((_SEED, 1))),
        distribution.draw(queries, np.random.default_rng((_SEED, 2))),
    )


def search_data(rows: int, queries: int, cache: Path | None = None) -> SearchData:
    """The data for so many rows, from the folder ``cache`` or made there."""
    folder = (
        cache or Path(tempfile.gettempdir()) / "manymodal-search-scale"
    ) / f"{rows}x{DIMENSIONS}-{queries}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _make(folder, rows, queries)
        (folder / "complete").touch()
    return SearchData(
        folder,
        np.load(folder / "vectors.npy", mmap_mode="r"),
        np.load(folder / "queries.npy"),
        np.load(folder / "lots.npy"),
        np.load(folder / "truth.npy"),
        {name: np.load(folder / f"truth-{limit}.npy") for name, limit in SELECTIVITIES.items()},
    )


def _make(folder: Path, rows: int, queries: int) -> None:
    print(f"Drawing {rows} vectors and their exact neighbours, once, into {folder}", flush=True)
    distribution = _Distribution(rows)
    dice = np.random.default_rng((_SEED, 1))
    asked = distribution.draw(queries, np.random.default_rng((_SEED, 2)))
    lots = np.random.default_rng((_SEED, 3)).permutation(np.arange(rows) % 1000)
    stored = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]  # numpy has no types for it
        folder / "vectors.npy", "w+", np.float32, (rows, DIMENSIONS)
    )
    limits = {"truth": 1000, **{f"truth-{limit}": limit for limit in SELECTIVITIES.values()}}
    heaps = {name: faiss.ResultHeap(queries, TOP_K, keep_max=True) for name in limits}
    for start in range(0, rows, _BLOCK_ROWS):
        block = distribution.draw(min(_BLOCK_ROWS, rows - start), dice)
        stored[start : start + len(block)] = block
        for name, limit in limits.items():
            kept = np.flatnonzero(lots[start : start + len(block)] < limit)
            if len(kept) == 0:
                continue
            count = min(TOP_K, len(kept))
            scores, places = faiss.knn(asked, block[kept], count, faiss.METRIC_INNER_PRODUCT)
            heaps[name].add_result(scores, kept[places] + start)
    stored.flush()
    for name, heap in heaps.items():
        heap.finalize()
        np.save(folder / f"{name}.npy", heap.I)
    np.save(folder / "queries.npy", asked)
    np.save(folder / "lots.npy", lots)


def _normalised(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
