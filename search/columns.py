"""The columns of a collection's table, and what a table says of itself in its schema."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa

from search.errors import InvalidQuery, SearchUnavailable
from search.types import CollectionSpec, IndexSpec, SpaceSpec

__all__ = ["TableIdentity", "new_identity", "read_identity", "table_schema", "vector_column"]

_PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}
_IDENTITY = b"manymodal"
_VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """Which collection a table's rows are of. One made anew under the same name has another ``uid``; a dropped one
    has none.
    """

    uid: str | None
    spec: CollectionSpec | None
    created_at_seconds: float


def new_identity(spec: CollectionSpec, created_at_seconds: float) -> TableIdentity:
    """Of a collection that is being made."""
    return TableIdentity(secrets.token_hex(16), spec, created_at_seconds)


def table_schema(spec: CollectionSpec, identity: TableIdentity | None = None) -> pa.Schema:
    """Columns of a collection. ``ordinal`` counts a document's rows from 0 in the order they were given.

    ``identity`` is for the commit that makes or drops the collection.
    """
    fields = [
        pa.field("document_id", pa.string(), nullable=False, metadata=_PRIMARY_KEY),
        pa.field("ordinal", pa.int32(), nullable=False, metadata=_PRIMARY_KEY),
        pa.field("tenant", pa.string(), nullable=False),
        pa.field("media_id", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("part_index", pa.int32(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("start_seconds", pa.float64()),
        pa.field("end_seconds", pa.float64()),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("created_at_seconds", pa.float64(), nullable=False),
    ]
    for number, space in enumerate(spec.spaces):
        kind = pa.list_(pa.float32(), space.dimensions)
        fields.append(pa.field(vector_column(spec, space.name), kind, nullable=number > 0))
    metadata = None if identity is None else {_IDENTITY: json.dumps(asdict(identity)).encode()}
    return pa.schema(fields, metadata=metadata)


def vector_column(spec: CollectionSpec, space: str) -> str:
    """The column that holds a space's vectors. Raises ``InvalidQuery`` for a space the collection does not have."""
    names = [one.name for one in spec.spaces]
    if space not in names:
        raise InvalidQuery(f"This collection has no embedding space '{space}'. It has: {', '.join(names)}.")
    return _VECTOR if names[0] == space else f"{_VECTOR}_{space}"


def read_identity(metadata: Mapping[bytes, bytes] | None) -> TableIdentity:
    """What the metadata of a table's schema say. Raises ``SearchUnavailable`` when they are not ours."""
    try:
        stored = json.loads((metadata or {})[_IDENTITY])
        found = stored["spec"]
        spec = None
        if found is not None:
            spaces = tuple(SpaceSpec(**space) for space in found["spaces"])
            spec = CollectionSpec(spaces, IndexSpec(**found["index"]))
        return TableIdentity(stored["uid"], spec, stored["created_at_seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise SearchUnavailable(
            "A collection was written by another version of Manymodal and cannot be read."
        ) from error
