"""A sealed run of rows with what searches need of them. Segments are immutable: searching needs no lock."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from search.columns import vector_column
from search.index.scan import Positions
from search.index.space import SpaceVectors
from search.metadata import MetadataColumns
from search.metadata_values import Mask
from search.row_columns import RowColumns, sorted_columns
from search.segment_record import SegmentRecord
from search.types import CollectionSpec, Query, Vector

__all__ = ["Part", "Segment", "flat_segment", "merged"]


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a segment's rows: those of ``mask``, all when that is ``None``."""

    segment: Segment
    mask: Mask | None

    def __len__(self) -> int:
        return len(self.segment) if self.mask is None else int(np.count_nonzero(self.mask))


class Segment:
    """Rows of some fragments of the table, in order of document, and their vectors by space.

    ``fragments`` are all that these rows came from: whole, but for rows that were deleted already. ``record`` says
    how the segment is saved; ``None`` for one that is only in memory.
    """

    def __init__(
        self,
        columns: RowColumns,
        spaces: Mapping[str, SpaceVectors],
        record: SegmentRecord | None = None,
    ) -> None:
        self.columns = columns
        self.spaces = spaces
        self.record = record
        self.fragments: frozenset[int] = frozenset(np.unique(columns.addresses >> np.uint64(32)).tolist())
        self._metadata: MetadataColumns | None = None
        self._metadata_lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def is_indexed(self) -> bool:
        """Whether this is one of the large ones that are built in the background and saved."""
        return self.record is not None

    @property
    def metadata(self) -> MetadataColumns:
        """Columns of metadata, made when they are first needed (a microsecond a row)."""
        with self._metadata_lock:
            if self._metadata is None:
                self._metadata = MetadataColumns.of(self.columns.metadata.column)
            return self._metadata

    def matching(self, query: Query, alive: Mask | None) -> Mask | None:
        """Which live rows satisfy the conditions of ``query``; ``None`` when all rows do."""
        columns = self.columns
        mask = alive
        if query.modalities:
            wanted = np.array([modality in query.modalities for modality in columns.modalities])
            mask = _both(mask, wanted[columns.modality_codes])
        if query.created_after_seconds is not None:
            mask = _both(mask, columns.created >= query.created_after_seconds)
        if query.created_before_seconds is not None:
            mask = _both(mask, columns.created < query.created_before_seconds)
        if query.where is not None:
            mask = _both(mask, self.metadata.mask(query.where))
        for document_id in query.excluded_documents:
            rows = columns.rows_of(document_id)
            if rows:
                mask = np.ones(len(self), dtype=np.bool_) if mask is None else mask.copy()
                mask[rows.start : rows.stop] = False
        return mask

    def vectors_at(self, space: str, rows: Positions) -> Vector:
        """Full vectors of rows that have one."""
        found = self.spaces[space]
        at = rows if found.present is None else np.searchsorted(found.present, rows)
        vectors: Vector = found.vectors[at]
        return vectors


def flat_segment(table: pa.Table, spec: CollectionSpec) -> Segment:
    """A segment in memory of rows as they were read from the table, that is scanned."""
    columns, order = sorted_columns(table)
    spaces = {}
    for space in spec.spaces:
        column = table.column(vector_column(spec, space.name))
        matrix, present = _matrix(column, space.dimensions)
        spaces[space.name] = _reordered(matrix, present, order)
    return Segment(RowColumns(columns), spaces)


def merged(parts: Sequence[Part], spec: CollectionSpec) -> Segment:
    """A segment in memory of the rows of several, that is scanned."""
    table, sources, rows = gathered(parts)
    spaces = {}
    for space in spec.spaces:
        present = rows_with_vector(parts, sources, rows, space.name)
        matrix = np.empty((len(sources) if present is None else len(present), space.dimensions), np.float32)
        copy_vectors(parts, sources, rows, space.name, present, matrix)
        spaces[space.name] = SpaceVectors(matrix, present)
    return Segment(RowColumns(table), spaces)


def gathered(parts: Sequence[Part]) -> tuple[pa.Table, Positions, Positions]:
    """The rows of several segments in a segment's order: columns, and per row its part and its row there."""
    tables, sources, rows = [], [], []
    for number, part in enumerate(parts):
        at = np.arange(len(part.segment)) if part.mask is None else np.flatnonzero(part.mask)
        whole = part.segment.columns.table
        tables.append(whole if part.mask is None else whole.take(pa.array(at)))
        sources.append(np.full(len(at), number, dtype=np.int64))
        rows.append(at)
    table, order = sorted_columns(pa.concat_tables(tables))
    return table, np.concatenate(sources)[order], np.concatenate(rows)[order]


def rows_with_vector(
    parts: Sequence[Part], sources: Positions, rows: Positions, space: str
) -> Positions | None:
    """Which of the gathered rows have a vector in a space; ``None`` when all have."""
    if all(part.segment.spaces[space].present is None for part in parts):
        return None
    has: Mask = np.ones(len(sources), dtype=np.bool_)
    for number, part in enumerate(parts):
        present = part.segment.spaces[space].present
        if present is not None:
            here = sources == number
            has[here] = np.isin(rows[here], present)
    return None if has.all() else np.flatnonzero(has)


def copy_vectors(
    parts: Sequence[Part],
    sources: Positions,
    rows: Positions,
    space: str,
    present: Positions | None,
    target: Vector,
    block_rows: int = 1 << 15,
) -> None:
    """Write the vectors of the gathered rows into ``target``, block by block."""
    for start in range(0, len(target), block_rows):
        block = slice(start, start + block_rows)
        of = np.arange(start, min(start + block_rows, len(target))) if present is None else present[block]
        for number, part in enumerate(parts):
            here = np.flatnonzero(sources[of] == number)
            if len(here):
                target[start + here] = part.segment.vectors_at(space, rows[of[here]])


def _reordered(matrix: Vector, present: Mask | None, order: Positions) -> SpaceVectors:
    if present is None:
        return SpaceVectors(np.ascontiguousarray(matrix[order]))
    present = present[order]
    return SpaceVectors(np.ascontiguousarray(matrix[order[present]]), np.flatnonzero(present))


def _matrix(column: pa.ChunkedArray, dimensions: int) -> tuple[Vector, Mask | None]:
    """Vectors as float32 ``(rows, dimensions)``, and which rows have one (``None``: all)."""
    present = column.is_valid().to_numpy() if column.null_count else None
    chunks = [
        chunk.values.slice(chunk.offset * dimensions, len(chunk) * dimensions).to_numpy(zero_copy_only=False)
        for chunk in column.chunks
    ]
    matrix = np.concatenate(chunks) if chunks else np.empty(0, dtype=np.float32)
    return matrix.reshape(len(column), dimensions).astype(np.float32, copy=False), present


def _both(one: Mask | None, other: Mask) -> Mask:
    return other if one is None else one & other
