"""What a reader serves: the segments of one table version. A new version makes a new snapshot.

Built segments are never the truth: a snapshot can always be made again from the table. Going from one version
to the next reads only new fragments' rows and the addresses in fragments with new deletions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from search.segment import Mask, Segment
from search.table import TableState
from search.types import Query, Vector

__all__ = ["Candidate", "Snapshot"]

_MAX_DEAD_SHARE = 0.5  # of a segment's rows, before it is built again without them


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that a search found: its score, and where it lies in the snapshot."""

    score: float
    segment: int
    position: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Sealed segments with a mask of live rows each, and the state of the table they show.

    ``rows_read`` counts the rows read from the table for the latest step, to show that steps stay small.
    """

    version: int = 0
    deleted_rows: Mapping[int, int] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    alive: tuple[Mask, ...] = ()
    rows_read: int = 0

    def advanced(self, state: TableState) -> Snapshot:
        """The snapshot of ``state``'s version, sharing with this one whatever has not changed."""
        now = {fragment.id: fragment.deleted_rows for fragment in state.fragments}
        gone = self.deleted_rows.keys() - now.keys()
        changed = {f for f in now.keys() & self.deleted_rows.keys() if now[f] != self.deleted_rows[f]}
        added = sorted(now.keys() - self.deleted_rows.keys())
        parts = list(zip(self.segments, self.alive, strict=True))
        if gone or changed:
            live = state.live_addresses(changed) if changed else np.empty(0, dtype=np.uint64)
            parts = [(segment, _still_alive(segment, mask, gone, changed, live)) for segment, mask in parts]
        rows_read = 0
        if added:
            table = state.read(added)
            rows_read = len(table)
            if rows_read:
                segment = Segment(table)
                parts.append((segment, np.ones(len(segment), dtype=np.bool_)))
        parts = _tidied(parts)
        return Snapshot(
            version=state.version,
            deleted_rows=now,
            segments=tuple(segment for segment, _ in parts),
            alive=tuple(mask for _, mask in parts),
            rows_read=rows_read,
        )

    def matching(self, query: Query) -> tuple[Mask, ...]:
        """Per segment, the live rows that satisfy all conditions of ``query``."""
        return tuple(
            alive & segment.matching(query) for segment, alive in zip(self.segments, self.alive, strict=True)
        )

    def search(self, vector: Vector, count: int, masks: Sequence[Mask], threads: int) -> list[Candidate]:
        """The ``count`` best rows within ``masks``, best first; equal scores in no particular order."""
        found: list[Candidate] = []
        for number, (segment, mask) in enumerate(zip(self.segments, masks, strict=True)):
            scores, positions = segment.search(vector, count, mask, threads)
            found += [
                Candidate(score, number, position)
                for score, position in zip(scores.tolist(), positions.tolist(), strict=True)
            ]
        found.sort(key=lambda candidate: -candidate.score)
        return found[:count]

    def rows(self, candidates: Sequence[Candidate], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Stored columns of some candidates, in their order."""
        by_segment: dict[int, list[int]] = {}
        for candidate in candidates:
            by_segment.setdefault(candidate.segment, []).append(candidate.position)
        taken = {
            number: iter(self.segments[number].columns.select(list(columns)).take(positions).to_pylist())
            for number, positions in by_segment.items()
        }
        return [next(taken[candidate.segment]) for candidate in candidates]


def _still_alive(
    segment: Segment, mask: Mask, gone: set[int], changed: set[int], live: np.typing.NDArray[np.uint64]
) -> Mask:
    fragments = segment.fragment_ids
    mask = mask & ~np.isin(fragments, np.fromiter(gone, dtype=np.uint64))
    touched = np.isin(fragments, np.fromiter(changed, dtype=np.uint64))
    return mask & (~touched | np.isin(segment.addresses, live))


def _tidied(parts: list[tuple[Segment, Mask]]) -> list[tuple[Segment, Mask]]:
    """Rebuild segments that are mostly dead, and merge small ones (each at least twice its successor's size).

    Sizes that at least double keep the number of segments logarithmic, and each row is copied a logarithmic
    number of times over the life of a collection.
    """
    tidy: list[tuple[Segment, Mask]] = []
    for segment, mask in parts:
        count = int(np.count_nonzero(mask))
        if count == 0:
            continue
        if count < len(segment) * (1 - _MAX_DEAD_SHARE):
            segment = Segment(segment.table(mask))
            mask = np.ones(len(segment), dtype=np.bool_)
        tidy.append((segment, mask))
        while len(tidy) > 1 and len(tidy[-2][0]) < 2 * len(tidy[-1][0]):
            (right, right_mask), (left, left_mask) = tidy.pop(), tidy.pop()
            merged = Segment(pa.concat_tables([left.table(left_mask), right.table(right_mask)]))
            tidy.append((merged, np.ones(len(merged), dtype=np.bool_)))
    return tidy
