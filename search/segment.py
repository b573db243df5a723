"""A sealed run of rows with its FAISS index. Segments are immutable: searching needs no lock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from search.errors import InvalidQuery
from search.types import Query, Vector

__all__ = ["Mask", "Segment", "canonical_value"]

Mask = NDArray[np.bool_]

_NO_POSITIONS: NDArray[np.int64] = np.empty(0, dtype=np.int64)


class Segment:
    """Rows of a table version and an exact inner-product index over their vectors.

    ``table`` has the columns of ``search.table.table_schema`` and ``_rowaddr``. Vectors have L2 norm 1, so
    inner product is cosine similarity. They are held once, by FAISS.
    """

    def __init__(self, table: pa.Table) -> None:
        vectors = _matrix(table)
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)
        self.columns = table.drop_columns(["vector"]).combine_chunks()
        self.addresses: NDArray[np.uint64] = self.columns.column("_rowaddr").to_numpy()
        self._created = self.columns.column("created_at_seconds").to_numpy()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def fragment_ids(self) -> NDArray[np.uint64]:
        """The Lance fragment each row came from."""
        return self.addresses >> np.uint64(32)

    @property
    def vectors(self) -> Vector:
        """``(rows, dimensions)``, a view of the index's own memory: keep the segment alive, do not write."""
        count, dimensions = self._index.ntotal, self._index.d
        view: Vector = faiss.rev_swig_ptr(self._index.get_xb(), count * dimensions).reshape(count, dimensions)
        return view

    def table(self, mask: Mask) -> pa.Table:
        """The rows of ``mask`` as a table again, vectors included, to build a new segment from."""
        kept = self.vectors[mask]
        column = pa.FixedSizeListArray.from_arrays(pa.array(kept.reshape(-1)), kept.shape[1])
        return self.columns.filter(pa.array(mask)).append_column("vector", column)

    def search(
        self, vector: Vector, count: int, mask: Mask, threads: int
    ) -> tuple[Vector, NDArray[np.int64]]:
        """The ``count`` best rows within ``mask`` (fewer if it has fewer): scores and positions, best
        first.
        """
        available = int(np.count_nonzero(mask))
        count = min(count, available)
        if count == 0:
            return np.empty(0, dtype=np.float32), _NO_POSITIONS
        parameters = None
        if available < len(self):
            bits = np.packbits(mask, bitorder="little")  # FAISS keeps a pointer: it must outlive the call
            selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        faiss.omp_set_num_threads(threads)  # OpenMP keeps this per calling thread, so it is set here
        scores, positions = self._index.search(vector.reshape(1, -1), count, params=parameters)
        return scores[0], positions[0]

    def matching(self, query: Query) -> Mask:
        """Which rows satisfy all conditions of ``query``; an empty condition is satisfied by every row."""
        mask: Mask = np.ones(len(self), dtype=np.bool_)
        if query.modalities:
            mask &= self._with_positions([p for m in query.modalities for p in self._modalities.get(m, ())])
        if query.created_after_seconds is not None:
            mask &= self._created >= query.created_after_seconds
        if query.created_before_seconds is not None:
            mask &= self._created < query.created_before_seconds
        for name, value in query.filters.items():
            mask &= self._with_positions(self._postings.get((name, canonical_value(value)), ()))
        return mask

    def _with_positions(self, positions: Sequence[int]) -> Mask:
        mask: Mask = np.zeros(len(self), dtype=np.bool_)
        mask[np.asarray(positions, dtype=np.int64)] = True
        return mask

    # Built on first use and then kept. Two threads may build one at the same time: both get the same answer.

    @cached_property
    def _modalities(self) -> dict[str, list[int]]:
        postings: dict[str, list[int]] = {}
        for position, modality in enumerate(self.columns.column("modality").to_pylist()):
            postings.setdefault(modality, []).append(position)
        return postings

    @cached_property
    def _postings(self) -> dict[tuple[str, str], list[int]]:
        postings: dict[tuple[str, str], list[int]] = {}
        for position, encoded in enumerate(self.columns.column("metadata").to_pylist()):
            for name, value in json.loads(encoded).items():
                postings.setdefault((name, canonical_value(value)), []).append(position)
        return postings


def canonical_value(value: Any) -> str:
    """A JSON value as text, equal exactly for equal JSON values: ``1`` equals ``1.0``, ``true`` does not.

    Raises ``InvalidQuery`` for what JSON cannot hold.
    """
    try:
        return json.dumps(_whole_numbers(value), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InvalidQuery("Metadata and filter values must be JSON values with finite numbers.") from None


def _whole_numbers(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list() | tuple():
            return [_whole_numbers(item) for item in value]
        case Mapping():
            return {name: _whole_numbers(item) for name, item in value.items()}
        case _:
            return value


def _matrix(table: pa.Table) -> Vector:
    """The vector column as float32 ``(rows, dimensions)``, contiguous."""
    column = table.column("vector")
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    matrix = np.concatenate(flat) if flat else np.empty(0, dtype=np.float32)
    return np.ascontiguousarray(matrix.reshape(len(table), column.type.list_size), dtype=np.float32)
