"""One tenant's collection: its durable table and the snapshot that searches are answered from."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from search.errors import DimensionMismatch, InvalidQuery, SearchUnavailable
from search.grouping import top_documents
from search.segment import canonical_value
from search.snapshot import Snapshot
from search.table import RowTable, table_schema
from search.types import Hit, Query, Row, Vector

__all__ = ["Collection", "missing_version", "unit_vector"]

_LOAD_WAIT_SECONDS = 60.0
_MAX_ID_CHARACTERS = 512
_MAX_METADATA_BYTES = 64 << 10


class Collection:
    """Thread-safe. Searches run on an immutable snapshot; refreshing makes a new one and swaps the
    reference.
    """

    def __init__(self, tenant: str, table: RowTable, threads: int) -> None:
        self._tenant = tenant
        self._table = table
        self._threads = threads
        self._refresh_lock = threading.Lock()
        self._snapshot = Snapshot()

    @property
    def table(self) -> RowTable:
        """The durable rows."""
        return self._table

    @property
    def snapshot(self) -> Snapshot:
        """What searches are answered from at the moment."""
        return self._snapshot

    def add(self, rows: Sequence[Row], created_at_seconds: float) -> int:
        """Replace the documents of ``rows``, durably and in one commit. Returns a version that holds them."""
        dimensions = self._table.dimensions
        table = _rows_table(self._tenant, rows, dimensions, created_at_seconds)
        return self._table.replace(table, sorted({row.document_id for row in rows}))

    def delete(self, document_id: str) -> int:
        """Remove a document. Returns a version without it."""
        return self._table.delete(_checked_text(document_id, "A document's id", _MAX_ID_CHARACTERS))

    def search(self, query: Query) -> tuple[Hit, ...]:
        """The best documents. Sees at least every commit that happened before the call, but for refreshes
        that another thread is busy with (and ``min_version``, if given, always). Raises ``InvalidQuery`` for
        a ``min_version`` that was never committed.
        """
        vector = unit_vector(query.vector, self._table.dimensions)
        return top_documents(self._current(query.min_version), vector, query, self._threads)

    def _current(self, min_version: int | None) -> Snapshot:
        """The newest snapshot that can be had without waiting, or one of at least ``min_version``.

        Adding and deleting return after their commit, so a version that cannot be read now was never given
        out: nothing is waited for but a refresh that another thread is busy with.
        """
        version = self._snapshot.version
        if min_version is not None and version < min_version and self._table.latest_version() < min_version:
            raise missing_version(min_version)
        must_wait = version == 0 or (min_version is not None and version < min_version)
        if not self._refresh_lock.acquire(timeout=_LOAD_WAIT_SECONDS if must_wait else 0):
            if must_wait:
                raise SearchUnavailable("The collection is still being loaded. Try again shortly.")
            return self._snapshot
        try:
            if self._table.latest_version() != self._snapshot.version:
                self._snapshot = self._snapshot.advanced(self._table.state())
            return self._snapshot
        finally:
            self._refresh_lock.release()


def missing_version(version: int) -> InvalidQuery:
    """The error for a ``min_version`` that does not exist."""
    return InvalidQuery(
        f"The collection has no version {version}. Use the version that adding or deleting returned."
    )


def unit_vector(vector: Vector, dimensions: int) -> Vector:
    """``vector`` as contiguous float32 of L2 norm 1. Raises ``DimensionMismatch`` or ``InvalidQuery``."""
    array = np.asarray(vector, dtype=np.float32)
    if array.shape != (dimensions,):
        size = array.size if array.ndim == 1 else "x".join(map(str, array.shape))
        raise DimensionMismatch(f"This collection's vectors have {dimensions} dimensions, not {size}.")
    norm = float(np.linalg.norm(array.astype(np.float64)))
    if not np.isfinite(norm) or norm == 0.0:
        raise InvalidQuery("A vector must have finite numbers that are not all zero.")
    unit: Vector = np.ascontiguousarray(array / norm, dtype=np.float32)
    return unit


def _rows_table(tenant: str, rows: Sequence[Row], dimensions: int, created_at_seconds: float) -> pa.Table:
    ordinals: dict[str, int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in table_schema(dimensions).names if name != "vector"}
    vectors = np.empty((len(rows), dimensions), dtype=np.float32)
    for number, row in enumerate(rows):
        vectors[number] = unit_vector(row.vector, dimensions)
        document_id = _checked_text(row.document_id, "A document's id", _MAX_ID_CHARACTERS)
        ordinal = ordinals[document_id] = ordinals.get(document_id, -1) + 1
        values = {
            "document_id": document_id,
            "ordinal": ordinal,
            "tenant": tenant,
            "media_id": row.media_id,
            "part_index": row.part_index,
            "modality": row.modality,
            "text": row.text,
            "start_seconds": row.start_seconds,
            "end_seconds": row.end_seconds,
            "metadata": _encoded_metadata(row.metadata),
            "created_at_seconds": created_at_seconds,
        }
        for name, value in values.items():
            columns[name].append(value)
    schema = table_schema(dimensions)
    vector_column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dimensions)
    try:
        return pa.table({**columns, "vector": vector_column}, schema=schema)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise InvalidQuery(
            "A row holds a value that cannot be stored (text must be valid Unicode)."
        ) from error


def _encoded_metadata(metadata: Mapping[str, Any]) -> str:
    if not all(isinstance(name, str) for name in metadata):
        raise InvalidQuery("Metadata names must be strings.")
    canonical_value(metadata)  # refuses what JSON cannot hold
    encoded = json.dumps(dict(metadata))
    if len(encoded) > _MAX_METADATA_BYTES:
        raise InvalidQuery(f"A document's metadata may take at most {_MAX_METADATA_BYTES} bytes as JSON.")
    return encoded


def _checked_text(text: str, what: str, max_characters: int) -> str:
    if not 0 < len(text) <= max_characters:
        raise InvalidQuery(f"{what} must have 1 to {max_characters} characters.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidQuery(f"{what} must be valid Unicode text.") from None
    return text
