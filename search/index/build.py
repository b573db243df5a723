"""Building an index. Vectors may lie in a mapped file larger than memory: they are read in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import faiss
import numpy as np

from search.index.effort import Effort, calibrated, trial_queries
from search.index.faiss_index import FaissIndex
from search.index.plan import IndexPlan, pq_parts
from search.types import Vector

__all__ = ["build_index"]

_BLOCK_ROWS = 1 << 15
_CELLS_PER_ROOT = 2.0  # as many cells as twice the root of the rows: few to rank, few rows in each
_TRAINING_ROWS_PER_CELL = 40
_TRAINING_ROUNDS = 8
_LINKS = 16
_BUILD_BREADTH = 80
_FAISS: Any = faiss  # its type information lacks half of what is called here
_METRIC = faiss.METRIC_INNER_PRODUCT


def build_index(
    vectors: Vector,
    plan: IndexPlan,
    threads: int,
    recent_queries: Sequence[Vector] = (),
    going_on: Callable[[], None] = lambda: None,
) -> tuple[FaissIndex, Effort]:
    """An index over ``vectors`` (rows, dimensions), of L2 norm 1, and the effort that it takes.

    The same vectors give the same index. ``going_on`` is called between blocks and may raise to stop.
    """
    index = _empty(plan, len(vectors))
    faiss.omp_set_num_threads(threads)
    if not index.is_trained:
        index.train(_cut(_sample(vectors, index), plan))
    for start in range(0, len(vectors), _BLOCK_ROWS):
        going_on()
        index.add(_cut(vectors[start : start + _BLOCK_ROWS], plan))
    built = FaissIndex(index, plan, vectors.shape[1])
    going_on()
    groups = trial_queries(vectors, recent_queries, seed=len(vectors))
    return built, calibrated(built, vectors, groups, built.breadths(), threads)


def _empty(plan: IndexPlan, rows: int) -> Any:
    size = plan.dimensions
    bytes8 = faiss.ScalarQuantizer.QT_8bit
    cells = max(1, min(int(_CELLS_PER_ROOT * math.sqrt(rows)), rows // 8))
    match plan.kind, plan.storage:
        case "flat", "float32":
            return _FAISS.IndexFlatIP(size)
        case "flat", "int8":
            return _FAISS.IndexScalarQuantizer(size, bytes8, _METRIC)
        case "flat", _:
            return _FAISS.IndexRaBitQ(size, _METRIC)
        case "hnsw", storage:
            index = (
                _FAISS.IndexHNSWFlat(size, _LINKS, _METRIC)
                if storage == "float32"
                else _FAISS.IndexHNSWSQ(size, bytes8, _LINKS, _METRIC)
            )
            index.hnsw.efConstruction = _BUILD_BREADTH
            return index
        case "ivf_pq", _:
            parts = pq_parts(size)
            index = _FAISS.IndexIVFPQFastScan(_FAISS.IndexFlatIP(size), size, cells, parts, 4, _METRIC)
        case _, "float32":
            index = _FAISS.IndexIVFFlat(_FAISS.IndexFlatIP(size), size, cells, _METRIC)
        case _, "int8":
            index = _FAISS.IndexIVFScalarQuantizer(_FAISS.IndexFlatIP(size), size, cells, bytes8, _METRIC)
        case _:
            index = _FAISS.IndexIVFRaBitQ(_FAISS.IndexFlatIP(size), size, cells, _METRIC)
    index.cp.niter = _TRAINING_ROUNDS
    index.cp.max_points_per_centroid = _TRAINING_ROWS_PER_CELL
    index.cp.min_points_per_centroid = 1  # silences a warning: there are at least 8
    return index


def _sample(vectors: Vector, index: Any) -> Vector:
    wanted = _TRAINING_ROWS_PER_CELL * int(getattr(index, "nlist", 1024))
    if wanted >= len(vectors):
        return vectors
    rows = np.random.default_rng(len(vectors)).choice(len(vectors), wanted, replace=False)
    return vectors[np.sort(rows)]


def _cut(vectors: Vector, plan: IndexPlan) -> Vector:
    """The indexed numbers, of L2 norm 1 again."""
    if plan.dimensions == vectors.shape[1]:
        return np.ascontiguousarray(vectors)
    prefix = np.ascontiguousarray(vectors[:, : plan.dimensions])
    faiss.normalize_L2(prefix)  # rows of zeros stay
    return prefix
