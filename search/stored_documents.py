"""Documents of a snapshot as they are stored: by id, by content, in order, and as one vector each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from search.filters import Condition
from search.metadata import decoded_metadata
from search.metadata_values import Mask
from search.segment import Part, Segment
from search.snapshot import Snapshot
from search.types import CollectionSpec, Row, StoredDocument

__all__ = ["document_means", "find_contents", "find_documents", "find_kinds", "scrolled"]

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
    space = spec.spaces[0]
    ids: list[str] = []
    sums = [np.empty((0, space.dimensions), dtype=np.float32)]
    for part in snapshot.parts:
        columns = part.segment.columns
        mask = _matching(part, where)
        rows = np.arange(len(columns)) if mask is None else np.flatnonzero(mask)
        numbers = columns.document_numbers[rows]
        firsts = np.flatnonzero(np.diff(numbers, prepend=-1) != 0)
        ids += columns.ids.column.take(pa.array(rows[firsts])).to_pylist()
        for start in range(0, len(firsts), _BLOCK_ROWS):
            block = firsts[start : start + _BLOCK_ROWS]
            end = firsts[start + len(block)] if start + len(block) < len(firsts) else len(rows)
            vectors = part.segment.vectors_at(space.name, rows[block[0] : end])
            sums.append(np.add.reduceat(vectors, block - block[0], axis=0))
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
