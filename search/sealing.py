"""Large segments: built of smaller ones into files, and opened from files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from search.config import SearchConfig
from search.errors import CorruptSegment
from search.index.build import build_index
from search.index.faiss_index import FaissIndex, read_index, write_index
from search.index.plan import IndexPlan, choose
from search.index.scan import Positions
from search.index.space import SpaceVectors
from search.row_columns import COLUMNS, RowColumns
from search.segment import Part, Segment, copy_vectors, gathered, rows_with_vector
from search.segment_files import SegmentFiles
from search.segment_record import Origin, SavedFile, SavedSpace, SegmentRecord
from search.types import CollectionSpec, SpaceSpec, Vector

__all__ = ["fits", "opened_segment", "sealed_segment"]

_PRESENT = "present:"


def sealed_segment(
    parts: Sequence[Part],
    fragments: Mapping[int, int],
    origins: Mapping[int, Origin],
    spec: CollectionSpec,
    settings: SearchConfig,
    files: SegmentFiles,
    queries: Mapping[str, Sequence[Vector]],
    threads: int,
    going_on: Callable[[], None],
) -> Segment:
    """One segment of the rows of several, in files that are mapped. ``fragments`` are those of all ``parts``, with
    the deletions that the parts' masks show, and ``origins`` what tells them apart; ``queries`` are recent ones by
    space.
    """
    table, sources, rows = gathered(parts)
    spaces: dict[str, SavedSpace] = {}
    for space in spec.spaces:
        going_on()
        present = rows_with_vector(parts, sources, rows, space.name)
        if present is not None:
            has = np.zeros(len(table), dtype=np.bool_)
            has[present] = True
            table = table.append_column(_PRESENT + space.name, pa.array(has))
        count = len(table) if present is None else len(present)
        vectors = _written_vectors(files, parts, sources, rows, space, present, count)
        spaces[space.name] = _indexed(
            files, vectors, count, space, spec, settings, queries.get(space.name, ()), threads, going_on
        )
    del sources, rows
    with files.unfinished() as path:
        with pa.OSFile(str(path), "wb") as target, pa.ipc.new_file(target, table.schema) as writer:
            writer.write_table(table)
        columns = files.adopted(path)
    record = SegmentRecord(len(table), dict(fragments), columns, spaces, dict(origins))
    return _opened(record, spec, files.path)


def opened_segment(record: SegmentRecord, spec: CollectionSpec, files: SegmentFiles) -> Segment:
    """A saved segment, its files hashed. Raises ``CorruptSegment`` and ``SearchUnavailable``."""
    return _opened(record, spec, files.fetched)


def fits(record: SegmentRecord, spec: CollectionSpec, settings: SearchConfig) -> bool:
    """Whether a saved segment is what would be built now: of the same spaces and with the same settings."""
    return set(record.spaces) == {space.name for space in spec.spaces} and all(
        saved.plan == choose(saved.rows, spec.index, space.dimensions, settings.pq_rows)
        for space in spec.spaces
        for saved in [record.spaces[space.name]]
    )


def _opened(record: SegmentRecord, spec: CollectionSpec, locate: Callable[[SavedFile], Path]) -> Segment:
    table = _mapped_table(locate(record.columns), record.rows)
    spaces = {}
    for space in spec.spaces:
        saved = record.spaces[space.name]
        vectors = _mapped_vectors(locate(saved.vectors), saved.rows, space.dimensions)
        present: Positions | None = None
        if _PRESENT + space.name in table.column_names:
            present = np.flatnonzero(table.column(_PRESENT + space.name).to_numpy())
        if (record.rows if present is None else len(present)) != saved.rows:
            raise CorruptSegment("A saved segment's vectors are not those of its rows.")
        index: FaissIndex | None = None
        if saved.index is not None:
            index = read_index(locate(saved.index), saved.plan, space.dimensions, saved.rows)
        spaces[space.name] = SpaceVectors(vectors, present, index, saved.effort)
    columns = RowColumns(table.select([name for name, _ in COLUMNS]))
    return Segment(columns, spaces, record)


def _written_vectors(
    files: SegmentFiles,
    parts: Sequence[Part],
    sources: Positions,
    rows: Positions,
    space: SpaceSpec,
    present: Positions | None,
    count: int,
) -> SavedFile:
    """Full vectors, straight into a mapped file: they may be larger than memory."""
    with files.unfinished() as path:
        shape = (max(count, 1), space.dimensions)  # there are no empty mapped files
        open_memmap: Any = np.lib.format.open_memmap
        target = open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        # Writing into a hole of a mapped file kills the process when the disk is full; this raises ``OSError``.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        copy_vectors(parts, sources, rows, space.name, present, target[:count])
        target.flush()
        del target
        return files.adopted(path)


def _indexed(
    files: SegmentFiles,
    vectors: SavedFile,
    count: int,
    space: SpaceSpec,
    spec: CollectionSpec,
    settings: SearchConfig,
    queries: Sequence[Vector],
    threads: int,
    going_on: Callable[[], None],
) -> SavedSpace:
    plan = choose(count, spec.index, space.dimensions, settings.pq_rows)
    if count < settings.flat_rows or plan == IndexPlan("flat", "float32", space.dimensions):
        return SavedSpace(count, vectors, plan)
    mapped = _mapped_vectors(files.path(vectors), count, space.dimensions)
    index, effort = build_index(mapped, plan, threads, queries, going_on)
    with files.unfinished() as path:
        write_index(index, path)
        return SavedSpace(count, vectors, plan, files.adopted(path), effort)


def _mapped_vectors(path: Path, count: int, dimensions: int) -> Vector:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CorruptSegment("A saved segment's vectors cannot be read.") from error
    if mapped.shape != (max(count, 1), dimensions) or mapped.dtype != np.float32:
        raise CorruptSegment("A saved segment's vectors are not as many or as long as its manifest says.")
    return np.asarray(mapped)[:count]


def _mapped_table(path: Path, rows: int) -> pa.Table:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise CorruptSegment("A saved segment's rows cannot be read.") from error
    if len(table) != rows or [(name, table.schema.field(name).type) for name, _ in COLUMNS] != list(COLUMNS):
        raise CorruptSegment(
            "A saved segment's rows are not as many, or not of the columns, that they should be."
        )
    return table
