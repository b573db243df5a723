"""The vectors of one space of a segment, and how they are searched, filtered or not."""

from __future__ import annotations

import math

import numpy as np

from search.index.effort import Effort
from search.index.faiss_index import VectorIndex
from search.index.scan import Positions, Scored, nearest, nearest_among, scores_at
from search.metadata_values import Mask
from search.types import Vector

__all__ = ["SpaceVectors"]

_SCAN_ROWS = 4096  # so few are scanned faster than an index is asked
_SCAN_SHARE = (
    0.25  # of the rows of a flat segment: below, the matches are scanned, above, all with a selector
)
_ASK_ALL_SHARE = 0.4  # matching: above, the index is asked as if unfiltered, for a few more
_GRAPH_STEP_ROWS = 24  # rows a graph search computes for each candidate it keeps
_SPARE = 8


class SpaceVectors:
    """Immutable. ``vectors`` are full float32 ``(those present, dimensions)`` of L2 norm 1; ``present`` are the
    rows that have one (rising), ``None`` when all have. Without an ``index``, all is scanned.

    Scores are exact cosine similarities, whatever the index holds.
    """

    def __init__(
        self,
        vectors: Vector,
        present: Positions | None = None,
        index: VectorIndex | None = None,
        effort: Effort | None = None,
    ) -> None:
        self.vectors = vectors
        self.present = present
        self._index = index
        self._effort = effort

    @property
    def is_indexed(self) -> bool:
        """Whether answers may be approximate."""
        return self._index is not None

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, vector: Vector, count: int, mask: Mask | None, exact: bool = False) -> Scored:
        """The best ``count`` rows, within ``mask`` if given; fewer only when no more have a vector here."""
        if mask is not None and self.present is not None:
            mask = mask[self.present]
        if self._index is None or self._effort is None or exact or count * 2 >= len(self.vectors):
            scores, positions = self._scan(vector, count, mask)
        elif mask is None:
            scores, positions = self._asked(
                vector, count, self._effort.breadth(count), self._index, self._effort
            )
        else:
            scores, positions = self._filtered(vector, count, mask, self._index, self._effort)
        return scores, positions if self.present is None else self.present[positions]

    def scores(self, vector: Vector, rows: Positions) -> Vector:
        """Exact scores of rows; NaN where one has no vector here."""
        if self.present is None:
            return scores_at(self.vectors, vector, rows)
        at = np.searchsorted(self.present, rows)
        found = at < len(self.present)
        found[found] = self.present[at[found]] == rows[found]
        scores: Vector = np.full(len(rows), np.nan, dtype=np.float32)
        scores[found] = scores_at(self.vectors, vector, at[found])
        return scores

    def row_vector(self, row: int) -> Vector | None:
        """A copy of one row's vector."""
        at = row if self.present is None else int(np.searchsorted(self.present, row))
        if self.present is not None and (at == len(self.present) or self.present[at] != row):
            return None
        copy: Vector = self.vectors[at].copy()
        return copy

    def _scan(self, vector: Vector, count: int, mask: Mask | None) -> Scored:
        if mask is not None:
            matches = int(np.count_nonzero(mask))
            if matches < _SCAN_SHARE * len(self.vectors):
                return nearest_among(self.vectors, vector, count, np.flatnonzero(mask))
            if matches == len(self.vectors):
                mask = None
        return nearest(self.vectors, vector, count, mask)

    def _asked(self, vector: Vector, count: int, breadth: int, index: VectorIndex, effort: Effort) -> Scored:
        """Unfiltered. An index that comes across too few rows (small cells) is asked again, more widely."""
        while True:
            scores, positions = self._once(vector, count, breadth, index, effort)
            if len(positions) >= min(count, len(self.vectors)):
                return scores, positions
            if breadth >= effort.max_breadth:
                return nearest(self.vectors, vector, count)
            breadth = min(breadth * 4, effort.max_breadth)

    def _once(self, vector: Vector, count: int, breadth: int, index: VectorIndex, effort: Effort) -> Scored:
        if index.scores_are_exact:
            return index.search(vector, count, breadth)
        fetch = min(math.ceil(count * effort.over_fetch) + _SPARE, len(self.vectors))
        positions = index.search(vector, fetch, breadth)[1]
        return nearest_among(self.vectors, vector, count, positions)

    def _filtered(self, vector: Vector, count: int, mask: Mask, index: VectorIndex, effort: Effort) -> Scored:
        rows = len(self.vectors)
        matches = int(np.count_nonzero(mask))
        count = min(count, matches)
        if count == 0:
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
        share = matches / rows
        depth = math.ceil(count / share * 1.2) + _SPARE
        if share >= _ASK_ALL_SHARE and depth * 2 < rows:
            found = self._kept(vector, count, depth, mask, index, effort)
            if found is not None:
                return found
        if matches > _SCAN_ROWS:
            positions = np.flatnonzero(mask)
            found = index.nearest_among(self.vectors, vector, positions, count, effort)
            if found is not None:
                return found
            if depth * 2 < rows and effort.breadth(depth) * _GRAPH_STEP_ROWS < matches:
                found = self._kept(vector, count, math.ceil(depth * 1.25), mask, index, effort)
                if found is not None:
                    return found
            return nearest_among(self.vectors, vector, count, positions)
        return nearest_among(self.vectors, vector, count, np.flatnonzero(mask))

    def _kept(
        self, vector: Vector, count: int, depth: int, mask: Mask, index: VectorIndex, effort: Effort
    ) -> Scored | None:
        """The matches among the ``depth`` best of all, when they are enough: then no match outside is better.

        Asked as widely as matches spread evenly take; when they turn out to be rarer among the best, more widely.
        """
        needed = effort.breadth(count * len(mask) / max(int(np.count_nonzero(mask)), 1))
        breadth = 0
        while breadth < needed:
            breadth = needed
            scores, positions = self._asked(vector, depth, breadth, index, effort)
            matching = np.flatnonzero(mask[positions])
            if len(matching) < count:
                return None
            needed = effort.breadth(int(matching[count - 1]) + 1)
        return scores[matching][:count], positions[matching][:count]
