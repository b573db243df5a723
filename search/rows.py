"""Rows on their way into a table: checked, and laid out in its columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from search.columns import table_schema, vector_column
from search.errors import DimensionMismatch, InvalidQuery
from search.types import CollectionSpec, Row, Vector

__all__ = ["checked_document_id", "rows_table", "unit_vector"]

_MAX_ID_CHARACTERS = 512
_MAX_METADATA_BYTES = 64 << 10
_MAX_TEXT_CHARACTERS = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


def rows_table(tenant: str, rows: Sequence[Row], spec: CollectionSpec, created_at_seconds: float) -> pa.Table:
    """Rows as ``table_schema(spec)`` holds them, vectors with L2 norm 1, each document's rows in the order given.

    Raises ``DimensionMismatch`` and ``InvalidQuery`` for what the collection cannot hold.
    """
    ordinals: dict[str, int] = {}
    schema = table_schema(spec)
    vectors = _vector_columns(rows, spec)
    columns: dict[str, Any] = {name: [] for name in schema.names if name not in vectors}
    for row in rows:
        document_id = checked_document_id(row.document_id)
        ordinal = ordinals[document_id] = ordinals.get(document_id, -1) + 1
        values = {
            "document_id": document_id,
            "ordinal": ordinal,
            "tenant": tenant,
            "media_id": row.media_id,
            "content_hash": _checked_hash(row.content_hash),
            "part_index": row.part_index,
            "modality": row.modality,
            "text": _checked_body(row.text),
            "start_seconds": row.start_seconds,
            "end_seconds": row.end_seconds,
            "metadata": _encoded_metadata(row.metadata),
            "created_at_seconds": created_at_seconds,
        }
        for name, value in values.items():
            columns[name].append(value)
    try:
        return pa.table({**columns, **vectors}, schema=schema)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise InvalidQuery(
            "A row holds a value that cannot be stored (text must be valid Unicode)."
        ) from error


def checked_document_id(document_id: str) -> str:
    """The id, or ``InvalidQuery`` when no document can have it."""
    if not isinstance(document_id, str) or not 0 < len(document_id) <= _MAX_ID_CHARACTERS:
        raise InvalidQuery(f"A document's id must have 1 to {_MAX_ID_CHARACTERS} characters.")
    try:
        document_id.encode()
    except UnicodeEncodeError:
        raise InvalidQuery("A document's id must be valid Unicode text.") from None
    return document_id


def unit_vector(vector: Vector, dimensions: int) -> Vector:
    """``vector`` as contiguous float32 of L2 norm 1. Raises ``DimensionMismatch`` or ``InvalidQuery``."""
    array = np.asarray(vector, dtype=np.float32)
    if array.shape != (dimensions,):
        size = array.size if array.ndim == 1 else "x".join(map(str, array.shape))
        raise DimensionMismatch(f"This collection's vectors have {dimensions} dimensions, not {size}.")
    wide = array.astype(np.float64)  # in which no square is too small or too large
    norm = math.sqrt(wide.dot(wide))
    if not 0.0 < norm < math.inf:
        raise InvalidQuery("A vector must have finite numbers that are not all zero.")
    unit: Vector = (wide / norm).astype(np.float32)
    return unit


def _vector_columns(rows: Sequence[Row], spec: CollectionSpec) -> dict[str, pa.Array]:
    first, *others = spec.spaces
    names = {space.name for space in others}
    for row in rows:
        for name in row.vectors.keys() - names:
            vector_column(spec, name)  # refuses a name the collection does not have
            raise InvalidQuery(f"The vector of the space '{name}' is given as the row's own.")
    columns = {vector_column(spec, first.name): _vectors([row.vector for row in rows], first.dimensions)}
    for space in others:
        given = [row.vectors.get(space.name) for row in rows]
        columns[vector_column(spec, space.name)] = _vectors(given, space.dimensions)
    return columns


def _vectors(vectors: Sequence[Vector | None], dimensions: int) -> pa.Array:
    """Vectors of norm 1 as a column; all at once, as there may be many."""
    matrix = np.zeros((len(vectors), dimensions), dtype=np.float32)
    absent = np.fromiter((vector is None for vector in vectors), np.bool_, len(vectors))
    for number, vector in enumerate(vectors):
        if vector is not None:
            fits = np.shape(vector) == (dimensions,)
            matrix[number] = vector if fits else unit_vector(vector, dimensions)  # which refuses it
    wide = matrix.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1)
    for number in np.flatnonzero(~absent & ~(np.isfinite(norms) & (norms > 0))):
        unit_vector(matrix[number], dimensions)  # refuses it
    norms[absent] = 1.0
    flat = pa.array((wide / norms[:, None]).astype(np.float32).reshape(-1))
    mask = pa.array(absent) if absent.any() else None
    return pa.FixedSizeListArray.from_arrays(flat, dimensions, mask=mask)


def _encoded_metadata(metadata: Mapping[str, Any]) -> str:
    if not all(isinstance(name, str) for name in metadata):
        raise InvalidQuery("Metadata names must be strings.")
    try:
        encoded = json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InvalidQuery("Metadata and filter values must be JSON values with finite numbers.") from None
    if len(encoded) > _MAX_METADATA_BYTES:
        raise InvalidQuery(f"A document's metadata may take at most {_MAX_METADATA_BYTES} bytes as JSON.")
    return encoded


def _checked_body(text: str) -> str:
    if isinstance(text, str) and len(text) > _MAX_TEXT_CHARACTERS:
        raise InvalidQuery(f"A row's text may have at most {_MAX_TEXT_CHARACTERS} characters.")
    return text


def _checked_hash(content_hash: str | None) -> str | None:
    if content_hash is not None and not _SHA256.fullmatch(content_hash):
        raise InvalidQuery("A content hash is the SHA-256 of the source's bytes in 64 hexadecimal digits.")
    return content_hash
