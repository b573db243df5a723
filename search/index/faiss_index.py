"""FAISS's indexes behind one face. Built or loaded once and then only searched, which FAISS allows many threads to
do at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from search.errors import CorruptSegment
from search.index.effort import Effort
from search.index.gpu import GpuIndex, on_gpu
from search.index.plan import IndexPlan
from search.index.scan import Positions, Scored, best, nearest_among, one_thread
from search.types import Vector

__all__ = ["FaissIndex", "VectorIndex", "read_index", "write_index"]

_FAISS: Any = faiss  # its type information lacks what is called here


class VectorIndex(Protocol):
    """An approximate index over the vectors of one space. Positions count these vectors."""

    scores_are_exact: bool
    """Whether scores are those of the full vectors."""

    def search(self, vector: Vector, count: int, breadth: int) -> Scored:
        """About the best ``count``, best first (fewer when fewer were come across), looking ``breadth`` wide."""
        ...

    def nearest_among(
        self, vectors: Vector, vector: Vector, positions: Positions, count: int, effort: Effort
    ) -> Scored | None:
        """The best ``count`` of the rows at ``positions`` (rising), scored with their full ``vectors``; ``None``
        when this kind of index is of no help there.
        """
        ...


class FaissIndex:
    """``VectorIndex`` over any of ``search.index.build``'s kinds."""

    def __init__(self, index: Any, plan: IndexPlan, full_dimensions: int) -> None:
        self._index = index
        self._plan = plan
        self.scores_are_exact = plan.storage == "float32" and plan.kind != "ivf_pq"
        self.scores_are_exact &= plan.dimensions == full_dimensions
        self.scores_are_exact &= not isinstance(index, GpuIndex)  # it may add up in another order
        self._cut = plan.dimensions < full_dimensions
        self._lists = plan.kind in ("ivf", "ivf_pq")
        self._parameters: dict[int, Any] = {}  # FAISS only reads them, so threads share them
        self._cell_of_row: NDArray[np.int32] | None = None
        self._cell_rows: NDArray[np.int64] | None = None
        if self._lists:
            self._assign_cells()

    @property
    def faiss_index(self) -> Any:
        """What to write into a file."""
        return self._index

    def breadths(self) -> list[int]:
        """Worth trying, rising; the last finds everything there is to find."""
        match self._plan.kind:
            case "ivf" | "ivf_pq":
                cells = int(self._index.nlist)
                steps = [n for n in (1, 2, 3, 4, 6, 8, 12) if n < cells]
                steps += [int(16 * 1.5**n) for n in range(40) if 16 * 1.5**n < cells]
                return [*steps, cells]
            case "hnsw":
                return [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096]
            case _:
                return [1]

    def search(self, vector: Vector, count: int, breadth: int) -> Scored:
        """See ``VectorIndex.search``."""
        one_thread()
        parameters = self._parameters.get(breadth)
        if parameters is None:
            parameters = self._with_breadth(breadth)
        query = self._query(vector)
        scores, positions = self._index.search(query, count, params=parameters)
        scores, positions = scores[0], positions[0]
        if positions[-1] < 0:  # unfilled places come last
            found = positions >= 0
            scores, positions = scores[found], positions[found]
        return scores, positions

    def nearest_among(
        self, vectors: Vector, vector: Vector, positions: Positions, count: int, effort: Effort
    ) -> Scored | None:
        """See ``VectorIndex.nearest_among``. First come the nearest cells, as many as finding the best takes where
        so many rows of them match: matches may be rare just where the query lies. Then come the cells whose rows
        may still be better, going by how far rows stray from what their cell's centre promises.
        """
        if self._cell_of_row is None or self._cell_rows is None:
            return None
        one_thread()
        cells = self._cell_of_row[positions]
        promised, order = self._index.quantizer.search(self._query(vector), len(self._cell_rows))
        promised, order = promised[0], order[0]
        matches = np.bincount(cells, minlength=len(order))[order].cumsum()
        rows = self._cell_rows[order].cumsum()
        needed = effort.breadths_for(count * rows / np.maximum(matches, 1))
        enough = (needed <= np.arange(1, len(order) + 1)) & (matches >= min(count, len(positions)))
        taken = int(np.argmax(enough)) + 1 if enough.any() else len(order)
        chosen = np.zeros(len(order), dtype=np.bool_)
        chosen[order[:taken]] = True
        first = chosen[cells]
        scores, found = nearest_among(vectors, vector, count, positions[first])
        if len(found) < count:
            hopeful = np.ones(len(order) - taken, dtype=np.bool_)
        else:
            hopeful = promised[taken:] * effort.slope + effort.margin > scores[-1]
        if not hopeful.any():
            return scores, found
        chosen[:] = False
        chosen[order[taken:][hopeful]] = True
        more_scores, more = nearest_among(vectors, vector, count, positions[chosen[cells]])
        return best(np.concatenate([scores, more_scores]), np.concatenate([found, more]), count)

    def promise(self, queries: Vector, rows: Positions) -> Vector | None:
        """The similarity of ``queries`` to the centres of the cells of ``rows``, or ``None`` without cells."""
        if self._cell_of_row is None:
            return None
        centres = self._index.quantizer.reconstruct_n(0, self._index.nlist)
        cut = np.concatenate([self._query(query) for query in queries])
        promised: Vector = (cut @ centres.T)[:, self._cell_of_row[rows]]
        return promised

    def _query(self, vector: Vector) -> Vector:
        if self._cut:
            vector = vector[: self._plan.dimensions]
            norm = np.linalg.norm(vector)
            if norm > 0:
                vector = vector / norm
        return vector.reshape(1, -1)

    def _with_breadth(self, breadth: int) -> Any:
        parameters: Any
        if self._lists:
            if self._plan.storage == "binary":
                parameters = _FAISS.IVFRaBitQSearchParameters()
                parameters.nprobe = breadth
            else:
                parameters = _FAISS.SearchParametersIVF(nprobe=breadth)
        elif self._plan.kind == "hnsw":
            parameters = _FAISS.SearchParametersHNSW(efSearch=breadth)
        else:
            return None
        if len(self._parameters) < 1024:
            self._parameters[breadth] = parameters
        return parameters

    def _assign_cells(self) -> None:
        lists = self._index.invlists
        cell_of_row = np.zeros(self._index.ntotal, dtype=np.int32)
        cell_rows = np.zeros(self._index.nlist, dtype=np.int64)
        for cell in range(self._index.nlist):
            size = cell_rows[cell] = lists.list_size(cell)
            if size:
                cell_of_row[faiss.rev_swig_ptr(lists.get_ids(cell), int(size))] = cell
        self._cell_of_row, self._cell_rows = cell_of_row, cell_rows


def write_index(index: FaissIndex, path: Path) -> None:
    """Into a file of FAISS's own format."""
    faiss.write_index(index.faiss_index, str(path))


def read_index(path: Path, plan: IndexPlan, full_dimensions: int, rows: int) -> FaissIndex:
    """From a file whose hash was checked, mapped rather than read, and onto a GPU if there is one. Raises
    ``CorruptSegment`` when it is not what a manifest says.
    """
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise CorruptSegment("A saved index cannot be read.") from error
    if index.ntotal != rows or index.d != plan.dimensions:
        raise CorruptSegment("A saved index is not of the rows beside it.")
    return FaissIndex(on_gpu(index), plan, full_dimensions)
