"""Tables of a collection for tests: rows to put in, and everything that a fresh reader sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from search.config import SearchConfig
from search.location import SearchLocation, TableLocation
from search.table import RowTable, new_session, table_schema
from search.types import CollectionSpec, SpaceSpec
from storage.config import S3Config

__all__ = ["DIMENSIONS", "SPEC", "contents", "created", "location", "opened", "rows"]

DIMENSIONS = 4
SPEC = CollectionSpec((SpaceSpec("default", DIMENSIONS),))


def location(root: Path, s3: S3Config | None = None) -> SearchLocation:
    """Where tables lie, below a folder or in a bucket."""
    return SearchLocation(SearchConfig(root, dimensions=DIMENSIONS, s3=s3))


def rows(*documents: tuple[str, int], text: str = "") -> pa.Table:
    """Rows of some documents: ``(id, number of parts)`` each, all with the same text."""
    pairs = [(document_id, ordinal) for document_id, parts in documents for ordinal in range(parts)]
    count = len(pairs)
    flat = pa.array(np.ones(count * DIMENSIONS, dtype=np.float32))
    columns = {
        "document_id": [document_id for document_id, _ in pairs],
        "ordinal": [ordinal for _, ordinal in pairs],
        "tenant": ["t"] * count,
        "media_id": [None] * count,
        "content_hash": [None] * count,
        "part_index": [ordinal for _, ordinal in pairs],
        "modality": ["text"] * count,
        "text": [text] * count,
        "start_seconds": [None] * count,
        "end_seconds": [None] * count,
        "metadata": ["{}"] * count,
        "created_at_seconds": [0.0] * count,
        "vector": pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS),
    }
    return pa.table(columns, schema=table_schema(SPEC))


def opened(place: TableLocation) -> RowTable | None:
    """The table, with caches of its own."""
    return RowTable.open(place, new_session())


def created(place: TableLocation) -> RowTable:
    """The table, made if there is none, with caches of its own."""
    return RowTable.create(place, SPEC, new_session())


def contents(table: RowTable) -> list[tuple[str, int, str]]:
    """All rows of the newest version as (document, ordinal, text)."""
    state = table.state()
    found = state.read([fragment.id for fragment in state.fragments], ["document_id", "ordinal", "text"])
    return sorted((row["document_id"], row["ordinal"], row["text"]) for row in found.to_pylist())
