"""Documents of a snapshot as they are stored: by id, by content, in order, and as one vector each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from search.filters import Condition
from search.metadata import decoded_metadata
from search.metadata_values import Mask
from search.segment import Part, Segment
from search.snapshot import Snapshot
from search.types import CollectionSpec, Row, StoredDocument

__all__ = ["document_means", "find_contents", "find_documents", "find_kinds", "sampled_means", "scrolled"]

_BLOCK_ROWS = 1 << 15


def find_documents(
    snapshot: Snapshot, spec: CollectionSpec, document_ids: Sequence[str]
) -> tuple[StoredDocument, ...]:
    """See ``Collection.documents``."""
    found = (_document(snapshot, spec, document_id) for document_id in document_ids)
    return tuple(document for document in found if document is not None)


def find_kinds(snapshot: Snapshot, document_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """See ``Collection.kinds``."""
    found: dict[str, tuple[str, str | None]] = {}
    for document_id in document_ids:
        for part in snapshot.parts:
            columns = part.segment.columns
            alive = (row for row in columns.rows_of(document_id) if part.mask is None or part.mask[row])
            row = next(alive, None)
            if row is not None:
                modality = columns.modalities[columns.modality_codes[row]]
                found[document_id] = (modality, columns.media_ids.get(row))
                break
    return found


def find_contents(snapshot: Snapshot, content_hashes: Sequence[str]) -> dict[str, str]:
    """See ``Collection.known_contents``."""
    known: dict[str, str] = {}
    wanted = sorted(set(content_hashes))
    if not wanted:
        return known
    for part in snapshot.parts:
        columns = part.segment.columns
        for content_hash, rows in columns.rows_of_contents(wanted).items():
            ids = [columns.ids[row] for row in rows if part.mask is None or part.mask[row]]
            if ids:
                known[content_hash] = min([*ids, known[content_hash]] if content_hash in known else ids)
    return known


def scrolled(
    snapshot: Snapshot, spec: CollectionSpec, after: str | None, limit: int, where: Condition | None
) -> tuple[StoredDocument, ...]:
    """See ``Collection.scroll``."""
    ids: set[str] = set()
    for part in snapshot.parts:
        columns = part.segment.columns
        first = 0 if after is None else columns.first_row_after(after)
        mask = _matching(part, where)
        rows = np.arange(first, len(columns)) if mask is None else np.flatnonzero(mask[first:]) + first
        numbers = columns.document_numbers[rows]
        ids.update(columns.ids[row] for row in rows[np.diff(numbers, prepend=-1) != 0][:limit].tolist())
    return find_documents(snapshot, spec, list(islice(sorted(ids), limit)))


def document_means(
    snapshot: Snapshot, spec: CollectionSpec, where: Condition | None
) -> tuple[list[str], NDArray[np.float32]]:
    """See ``Collection.document_vectors``."""
    return _means([_live(part, where) for part in snapshot.parts], spec)


def sampled_means(
    snapshot: Snapshot, spec: CollectionSpec, where: Condition | None, most: int
) -> tuple[int, list[str], NDArray[np.float32]]:
    """See ``Collection.sampled_vectors``."""
    found = [_live(part, where) for part in snapshot.parts]
    if not found:
        return (0, *_means(found, spec))
    ids = pa.chunked_array([one.ids for one in found])
    if len(found) > 1:  # each has its documents in order and once; one that compaction cut is in two of them
        ids = pc.unique(ids)
        ids = ids.take(pc.sort_indices(ids))
    documents = len(ids)
    if documents > most:
        wanted = ids.take(pa.array(np.arange(most, dtype=np.int64) * documents // most))
        found = [one.only(wanted) for one in found]
    return (documents, *_means(found, spec))


@dataclass(frozen=True, slots=True)
class _Live:
    """Some of a segment's rows, of each document those from one of ``firsts`` (places in ``rows``) to the next."""

    segment: Segment
    rows: NDArray[np.int64]
    firsts: NDArray[np.int64]
    ids: pa.LargeStringArray

    def only(self, wanted: pa.LargeStringArray) -> _Live:
        """The rows of some documents."""
        mask = pc.is_in(self.ids, value_set=wanted).to_numpy(zero_copy_only=False)
        sizes = np.diff(self.firsts, append=len(self.rows))
        kept = sizes[mask]
        rows = self.rows[np.repeat(mask, sizes)]
        return _Live(self.segment, rows, np.cumsum(kept) - kept, self.ids.filter(pa.array(mask)))


def _live(part: Part, where: Condition | None) -> _Live:
    columns = part.segment.columns
    mask = _matching(part, where)
    rows = np.arange(len(columns)) if mask is None else np.flatnonzero(mask)
    firsts = np.flatnonzero(np.diff(columns.document_numbers[rows], prepend=-1) != 0)
    return _Live(part.segment, rows, firsts, columns.ids.column.take(pa.array(rows[firsts])))


def _means(found: Sequence[_Live], spec: CollectionSpec) -> tuple[list[str], NDArray[np.float32]]:
    space = spec.spaces[0]
    ids: list[str] = []
    sums = [np.empty((0, space.dimensions), dtype=np.float32)]
    for one in found:
        ids += one.ids.to_pylist()
        start = 0
        while start < len(one.firsts):  # whole documents, about as many rows each time
            first = one.firsts[start]
            end = max(start + 1, int(np.searchsorted(one.firsts, first + _BLOCK_ROWS)))
            stop = one.firsts[end] if end < len(one.firsts) else len(one.rows)
            vectors = one.segment.vectors_at(space.name, one.rows[first:stop])
            sums.append(np.add.reduceat(vectors, one.firsts[start:end] - first, axis=0))
            start = end
    return _unit_means(ids, np.concatenate(sums))


def _unit_means(ids: list[str], sums: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
    """One vector an id, in order of id: a document may lie in two segments when compaction cut it."""
    if not ids:
        return ids, sums
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    ordered = [ids[number] for number in order]
    firsts = [n for n, one in enumerate(ordered) if n == 0 or ordered[n - 1] != one]
    means = sums[order] if len(firsts) == len(ids) else np.add.reduceat(sums[order], firsts, axis=0)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    opposite = norms[:, 0] < 1e-6  # rows that cancel each other out: any direction is as good
    means[opposite] = 0.0
    means[opposite, 0] = 1.0
    norms[opposite] = 1.0
    return [ordered[n] for n in firsts], (means / norms).astype(np.float32)


def _matching(part: Part, where: Condition | None) -> Mask | None:
    if where is None:
        return part.mask
    mask = part.segment.metadata.mask(where)
    return mask if part.mask is None else mask & part.mask


def _document(snapshot: Snapshot, spec: CollectionSpec, document_id: str) -> StoredDocument | None:
    places: list[tuple[int, Segment, int]] = []
    for part in snapshot.parts:
        columns = part.segment.columns
        places += [
            (int(columns.ordinals[row]), part.segment, row)
            for row in columns.rows_of(document_id)
            if part.mask is None or part.mask[row]
        ]
    if not places:
        return None
    places.sort(key=lambda place: place[0])
    _, segment, row = places[0]
    rows = tuple(_row(segment, row, spec) for _, segment, row in places)
    return StoredDocument(document_id, rows, segment.columns.created.item(row))


def _row(segment: Segment, row: int, spec: CollectionSpec) -> Row:
    columns = segment.columns
    first, *others = spec.spaces
    vector = segment.spaces[first.name].row_vector(row)
    if vector is None:
        raise ValueError("A row has no vector in the first space.")
    vectors = {space.name: segment.spaces[space.name].row_vector(row) for space in others}
    start, end = columns.starts.item(row), columns.ends.item(row)
    return Row(
        document_id=columns.ids[row],
        modality=columns.modalities[columns.modality_codes[row]],
        vector=vector,
        part_index=columns.part_indexes.item(row),
        start_seconds=None if np.isnan(start) else start,
        end_seconds=None if np.isnan(end) else end,
        text=columns.texts[row],
        media_id=columns.media_ids.get(row),
        metadata=decoded_metadata(columns.metadata[row]),
        vectors={name: found for name, found in vectors.items() if found is not None},
        content_hash=columns.content_hashes.get(row),
    )
