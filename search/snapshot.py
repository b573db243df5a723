"""What a reader serves: the segments of one table version. A new version makes a new snapshot.

Built segments are never the truth: a snapshot can always be made again from the table. Going from one version
to the next reads only new fragments' rows and the addresses in fragments with new deletions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from search.metadata_values import Mask
from search.row_columns import RowColumns
from search.segment import Part, Segment, flat_segment, merged
from search.table import TableState
from search.types import CollectionSpec, Query, Vector

__all__ = ["Candidates", "Masks", "Snapshot"]

_MAX_DEAD_SHARE = 0.5  # of a segment's rows, before it is built again without them
_READ_ROWS = 1 << 17  # at a time, whatever the size of the table
_OFFSETS = np.uint64(0xFFFFFFFF)

Masks: TypeAlias = tuple[Mask | None, ...]
"""Per segment the rows that may be found; ``None`` for all."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows that a search found, best first: scores, and where the rows lie in the snapshot."""

    scores: NDArray[np.float32]
    segments: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def kept(self, mask: Mask) -> Candidates:
        """Some of them."""
        return Candidates(self.scores[mask], self.segments[mask], self.rows[mask])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Sealed segments with their live rows, and the state of the table they show.

    ``parts_per_document`` is how many rows a document has on average. ``rows_read`` counts the rows read from the
    table for the latest step, to show that steps stay small.
    """

    version: int = 0
    state: TableState | None = None
    deleted_rows: Mapping[int, int] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    parts_per_document: float = 1.0
    rows_read: int = 0

    @property
    def columns(self) -> tuple[RowColumns, ...]:
        """Those of each segment."""
        return tuple([part.segment.columns for part in self.parts])

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Those of ``parts``."""
        return tuple(part.segment for part in self.parts)

    def advanced(
        self,
        state: TableState,
        spec: CollectionSpec,
        flat_rows: int,
        untouched: Collection[Segment] = (),
    ) -> Snapshot:
        """The snapshot of ``state``'s version, sharing with this one whatever has not changed.

        Segments in memory are merged up to ``flat_rows`` rows, but for those ``untouched``.
        """
        now = {fragment.id: fragment.deleted_rows for fragment in state.fragments}
        gone = self.deleted_rows.keys() - now.keys()
        changed = {f for f in now.keys() & self.deleted_rows.keys() if now[f] != self.deleted_rows[f]}
        added = sorted(now.keys() - self.deleted_rows.keys())
        parts = list(self.parts)
        if gone or changed:
            live = _by_fragment(state.live_addresses(changed)) if changed else {}
            parts = [_still_alive(part, gone, changed, live) for part in parts]
        new = _read(state, added, spec)
        rows_read = sum(map(len, new))
        parts = _tidied([*parts, *new], spec, flat_rows, untouched)
        return self._with(parts, version=state.version, state=state, deleted_rows=now, rows_read=rows_read)

    def replaced(self, old: Collection[Segment], new: Segment) -> Snapshot:
        """The same rows with one segment in place of some others, all of whose live rows it has. Rows that were
        deleted since it was built are no longer alive in the others.
        """
        part = Part(new, None)
        alive = [_live_addresses(one) for one in self.parts if one.segment in old]
        if sum(map(len, alive)) < len(new):
            part = Part(new, np.isin(new.columns.addresses, np.concatenate(alive)) if alive else None)
        parts = [part, *(one for one in self.parts if one.segment not in old)]
        return self._with([one for one in parts if len(one)])

    def _with(self, parts: Sequence[Part], **changes: object) -> Snapshot:
        documents = sum(part.segment.columns.documents for part in parts)
        rows = sum(len(part.segment) for part in parts)
        average = rows / documents if documents else 1.0
        # Which fields the changes are of is not known to mypy.
        return replace(self, parts=tuple(parts), parts_per_document=average, **changes)  # type: ignore[arg-type]

    def matching(self, query: Query) -> Masks:
        """Per segment, the live rows that satisfy all conditions of ``query``."""
        return tuple([part.segment.matching(query, part.mask) for part in self.parts])

    def nearest(self, vector: Vector, space: str, count: int, masks: Masks, exact: bool) -> Candidates:
        """The ``count`` best rows by cosine similarity; fewer only when there are no more."""
        found = [
            part.segment.spaces[space].search(vector, count, mask, exact)
            for part, mask in zip(self.parts, masks, strict=True)
        ]
        if len(found) == 1:
            scores, rows = found[0]
            return Candidates(scores, np.zeros(len(rows), dtype=np.int64), rows)
        return _best([scores for scores, _ in found], [rows for _, rows in found], count)

    def with_words(self, text: str, count: int, masks: Masks) -> tuple[Candidates, bool]:
        """The rows within ``masks`` among the ``count`` best of all for the words of ``text``, by BM25; whether
        these were all.
        """
        if self.state is None:
            return _best([], [], 0), True
        addresses, scores = self.state.match_text(text, count)
        found_scores, found_rows = [], []
        for part, mask in zip(self.parts, masks, strict=True):
            rows = part.segment.columns.at_addresses(addresses)
            here = rows >= 0
            if mask is not None:
                here[here] = mask[rows[here]]
            found_scores.append(scores[here])
            found_rows.append(rows[here])
        return _best(found_scores, found_rows, count), len(addresses) < count

    def count(self) -> tuple[int, int, dict[str, int]]:
        """Live rows, documents, and documents by modality (one may have several)."""
        ids = [part.segment.columns.ids.column for part in self.parts]
        codes = [part.segment.columns.modality_codes for part in self.parts]
        masks = [
            np.ones(len(part.segment), dtype=np.bool_) if part.mask is None else part.mask
            for part in self.parts
        ]
        modalities = sorted({m for part in self.parts for m in part.segment.columns.modalities})
        by_modality = {}
        for modality in modalities:
            wanted = [
                mask & np.array([m == modality for m in part.segment.columns.modalities])[code]
                for part, mask, code in zip(self.parts, masks, codes, strict=True)
            ]
            by_modality[modality] = _distinct(self.parts, ids, wanted)
        return (
            sum(int(mask.sum()) for mask in masks),
            _distinct(self.parts, ids, masks),
            {modality: count for modality, count in by_modality.items() if count},
        )


def _best(scores: Sequence[NDArray[np.float32]], rows: Sequence[NDArray[np.int64]], count: int) -> Candidates:
    """From what each segment found."""
    if not scores:
        none = np.empty(0, dtype=np.int64)
        return Candidates(np.empty(0, dtype=np.float32), none, none)
    all_scores = np.concatenate(scores)
    order = np.argsort(-all_scores, kind="stable")[:count]
    numbers = np.repeat(np.arange(len(rows)), [len(found) for found in rows])
    return Candidates(all_scores[order], numbers[order], np.concatenate(rows)[order])


def _distinct(parts: Sequence[Part], ids: Sequence[pa.Array], masks: Sequence[Mask]) -> int:
    """How many documents rows are of. A document may lie in two segments when compaction cut it."""
    firsts = []
    for part, column, mask in zip(parts, ids, masks, strict=True):
        rows = np.flatnonzero(mask)
        numbers = part.segment.columns.document_numbers[rows]
        firsts.append((column, rows[np.diff(numbers, prepend=-1) != 0]))
    if len(firsts) == 1:
        return len(firsts[0][1])
    chunks = [column.take(pa.array(rows)) for column, rows in firsts]
    return int(pc.count_distinct(pa.chunked_array(chunks, pa.large_string())).as_py())


def _read(state: TableState, fragments: Sequence[int], spec: CollectionSpec) -> list[Part]:
    """New fragments as segments in memory, some at a time: as many as hold about ``_READ_ROWS`` rows, going by the
    ones before.
    """
    parts: list[Part] = []
    start, step = 0, 1
    while start < len(fragments):
        group = fragments[start : start + step]
        table = state.read(group)
        if len(table):
            parts.append(Part(flat_segment(table, spec), None))
        start += len(group)
        step = max(1, min(4 * step, step * _READ_ROWS // max(len(table), 1)))
    return parts


def _by_fragment(addresses: NDArray[np.uint64]) -> dict[int, Mask]:
    """Rising addresses as a mask of offsets for each fragment."""
    fragments = addresses >> np.uint64(32)
    found = {}
    for fragment in np.unique(fragments).tolist():
        first, last = np.searchsorted(fragments, [fragment, fragment + 1])
        offsets = (addresses[first:last] & _OFFSETS).astype(np.int64)
        mask = np.zeros(int(offsets[-1]) + 1, dtype=np.bool_)
        mask[offsets] = True
        found[fragment] = mask
    return found


def _live_addresses(part: Part) -> NDArray[np.uint64]:
    addresses = part.segment.columns.addresses
    return addresses if part.mask is None else addresses[part.mask]


def _still_alive(
    part: Part, gone: Collection[int], changed: Collection[int], live: Mapping[int, Mask]
) -> Part:
    touched = part.segment.fragments & (set(gone) | set(changed))
    if not touched:
        return part
    columns = part.segment.columns
    order = columns.address_order
    addresses = columns.addresses[order]
    mask = np.ones(len(columns), dtype=np.bool_) if part.mask is None else part.mask.copy()
    for fragment in sorted(touched):
        first, last = np.searchsorted(
            addresses, np.array([fragment << 32, (fragment + 1) << 32], dtype=np.uint64)
        )
        rows = order[first:last]
        offsets_alive = live.get(fragment)
        if fragment in gone or offsets_alive is None:
            mask[rows] = False
        else:
            offsets = (addresses[first:last] & _OFFSETS).astype(np.int64)
            known = offsets < len(offsets_alive)
            alive = np.zeros(len(rows), dtype=np.bool_)
            alive[known] = offsets_alive[offsets[known]]
            mask[rows] &= alive
    return Part(part.segment, None if mask.all() else mask)


def _tidied(
    parts: Sequence[Part], spec: CollectionSpec, flat_rows: int, untouched: Collection[Segment]
) -> list[Part]:
    """Rebuild segments in memory that are mostly dead, and merge small ones (each at least twice its successor's
    size); mostly dead saved ones that are small by now become segments in memory.

    Sizes that at least double keep the number of segments logarithmic, and each row is copied a logarithmic number
    of times over the life of a collection.
    """
    tidy: list[Part] = []
    for part in parts:
        count = len(part)
        if part.segment in untouched:
            tidy.append(part)
            continue
        if count == 0:
            continue
        mostly_dead = count < len(part.segment) * (1 - _MAX_DEAD_SHARE)
        if mostly_dead and count < flat_rows:
            part = Part(merged([part], spec), None)
        tidy.append(part)
        while len(tidy) > 1 and all(_may_merge(one, untouched) for one in tidy[-2:]):
            left, right = tidy[-2:]
            if len(left.segment) >= 2 * len(right.segment) or len(left) + len(right) > flat_rows:
                break
            tidy[-2:] = [Part(merged([left, right], spec), None)]
    return tidy


def _may_merge(part: Part, untouched: Collection[Segment]) -> bool:
    return not part.segment.is_indexed and part.segment not in untouched
