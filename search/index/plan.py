"""Which kind of index some vectors get."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from search.types import IndexSpec, VectorStorage

__all__ = ["IndexPlan", "choose", "pq_parts"]

BuiltKind = Literal["flat", "hnsw", "ivf", "ivf_pq"]
_PQ_PART_DIMENSIONS = (4, 5, 6, 3, 7, 8, 2)  # 4 bits for four numbers do best with re-scoring


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """``dimensions`` numbers of each vector are indexed, held as ``storage`` says. ``binary`` is RaBitQ: one bit a
    number and a few numbers a vector (Gao and Long 2024).
    """

    kind: BuiltKind
    storage: VectorStorage
    dimensions: int

    def as_json(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)


def choose(rows: int, spec: IndexSpec, dimensions: int, pq_rows: int) -> IndexPlan:
    """The index of so many vectors, of which there are enough for one at all (``SearchConfig.flat_rows``).

    What cannot be is replaced by its nearest: a graph over bits by cells of bits, product quantisation of a prime
    length by bytes, a prefix longer than the vectors by the whole.
    """
    indexed = min(spec.dimensions or dimensions, dimensions)
    kind: BuiltKind
    kind = ("ivf" if rows <= pq_rows else "ivf_pq") if spec.kind == "auto" else spec.kind
    storage = spec.storage
    if kind == "hnsw" and storage == "binary":
        kind = "ivf"
    if kind == "ivf_pq":
        if storage != "float32":
            kind = "ivf"  # it has a way of holding vectors of its own
        elif pq_parts(indexed) is None:
            kind, storage = "ivf", "int8"
    return IndexPlan(kind, storage, indexed)


def pq_parts(dimensions: int) -> int | None:
    """Into how many parts of 4 bits a vector is cut; ``None`` when there is no good number."""
    for part in _PQ_PART_DIMENSIONS:
        if dimensions % part == 0:
            return dimensions // part
    return None
