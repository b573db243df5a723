"""Exact inner products with full vectors: of all of them, or of some. The vectors stay where they are, in memory or
in a mapped file.

Every function here, and FAISS's indexes over float32, adds up one vector's product in the same order, so a row
gets the same score, to the last bit, however it was found.
"""

from __future__ import annotations

import threading
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from search.metadata_values import Mask
from search.types import Vector

__all__ = ["Positions", "Scored", "best", "nearest", "nearest_among", "one_thread", "scores_at"]

Positions = NDArray[np.int64]
Scored = tuple[Vector, Positions]
"""Scores, falling, and the positions they are of."""

_FAISS: Any = faiss  # its type information lacks what is called here
_THREAD = threading.local()


def one_thread() -> None:
    """Let FAISS answer the calling thread's queries on one core: searches come from many threads, and waking others
    for a query of microseconds costs more than it gains. OpenMP keeps the number by calling thread.
    """
    if not hasattr(_THREAD, "set"):
        faiss.omp_set_num_threads(1)
        _THREAD.set = True


def nearest(vectors: Vector, vector: Vector, count: int, mask: Mask | None = None) -> Scored:
    """The ``count`` best of all vectors, or of those within ``mask``; fewer when there are fewer."""
    one_thread()
    count = min(count, len(vectors) if mask is None else int(np.count_nonzero(mask)))
    scores = np.empty(count, dtype=np.float32)
    positions = np.empty(count, dtype=np.int64)
    if count:
        selector = None
        if mask is not None:
            bits = np.packbits(mask, bitorder="little")  # FAISS keeps a pointer: it must outlive the call
            selector = _FAISS.IDSelectorBitmap(bits)
        pointer = faiss.swig_ptr
        _FAISS.knn_inner_product(
            pointer(vector),
            pointer(vectors),
            vectors.shape[1],
            1,
            len(vectors),
            count,
            pointer(scores),
            pointer(positions),
            selector,
        )
    return scores, positions


def nearest_among(vectors: Vector, vector: Vector, count: int, positions: Positions) -> Scored:
    """The ``count`` best of the vectors at some positions; fewer when there are fewer."""
    return best(scores_at(vectors, vector, positions), positions, count)


def scores_at(vectors: Vector, vector: Vector, positions: Positions) -> Vector:
    """The scores of the vectors at some positions, in their order."""
    one_thread()
    scores: Vector = np.empty(len(positions), dtype=np.float32)
    if len(positions):
        at = np.ascontiguousarray(positions, dtype=np.int64)
        pointer = faiss.swig_ptr
        _FAISS.fvec_inner_products_by_idx(
            pointer(scores), pointer(vector), pointer(vectors), pointer(at), vectors.shape[1], 1, len(at)
        )
    return scores


def best(scores: Vector, positions: Positions, count: int) -> Scored:
    """The ``count`` highest scores, falling, and their positions."""
    if count < len(scores):
        kept = np.argpartition(scores, len(scores) - count)[len(scores) - count :] if count else slice(0)
        scores, positions = scores[kept], positions[kept]
    order = np.argsort(-scores, kind="stable")
    return scores[order], positions[order]
