"""Lance's tables as we use them: opened, overwritten on condition, and filtered by values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import lance
import numpy as np
import pyarrow as pa
from lance import LanceOperation
from lance.fragment import write_fragments

from search.columns import read_identity
from search.errors import CollectionNotFound, SearchUnavailable
from search.lance_errors import FAILURES, translated
from search.location import TableLocation
from search.types import CollectionSpec

__all__ = ["anchor_fragment", "gone", "in_use", "membership", "open_dataset", "overwrite"]

_OPENING_ATTEMPTS = 4


def open_dataset(place: TableLocation, session: lance.Session) -> lance.LanceDataset | None:
    """The newest version of what lies there, a dropped collection's too."""
    if not place.exists():
        return None
    with translated("read"):
        for _ in range(_OPENING_ATTEMPTS):
            try:
                return lance.dataset(place.uri, session=session, storage_options=_options(place))
            except FAILURES as error:  # the version that was the newest is gone with its collection, perhaps
                if "not found" not in str(error).lower():
                    raise
        return lance.dataset(place.uri, session=session, storage_options=_options(place))


def overwrite(
    place: TableLocation, version: int, schema: pa.Schema, fragments: list[lance.FragmentMetadata]
) -> None:
    """Put an empty table (but for ``fragments``) in place of ``version``, 0 being none at all.

    Raises ``CommitConflictError``, or ``OSError`` for version 0, when that is not the newest version any more: a
    commit of this kind without retries is conditional.
    """
    lance.LanceDataset.commit(
        place.uri,
        LanceOperation.Overwrite(schema, fragments),
        read_version=version,
        max_retries=0,
        storage_options=_options(place),
    )


def anchor_fragment(
    place: TableLocation, version: int, spec: CollectionSpec, schema: pa.Schema
) -> list[lance.FragmentMetadata]:
    """For a table in place of ``version``: a fragment with one row that is no document. Its id is empty, as no
    document's can be.
    """
    row = {name: pa.nulls(1, schema.field(name).type) for name in schema.names}
    row |= {name: pa.array([""]) for name in ("document_id", "tenant", "modality", "text")}
    row |= {"ordinal": pa.array([0], pa.int32()), "part_index": pa.array([0], pa.int32())}
    row |= {"metadata": pa.array(["{}"]), "created_at_seconds": pa.array([0.0])}
    dimensions = spec.spaces[0].dimensions
    row["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(dimensions, np.float32)), dimensions)
    found: list[lance.FragmentMetadata] = write_fragments(
        pa.table(row, schema=schema),
        place.uri,
        schema=schema,
        mode="overwrite" if version else "create",
        storage_options=_options(place),
    )
    return found


def membership(column: str, values: Iterable[str]) -> str:
    """A filter: the column is one of the values. In a literal a quote is doubled, everything else stands for itself
    (no backslash escapes).
    """
    literals = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({literals})"


def gone(name: str) -> CollectionNotFound:
    """The error of whoever goes on using a dropped collection."""
    return CollectionNotFound(f"There is no collection named '{name}' any more.")


@contextmanager
def in_use(dataset: lance.LanceDataset, name: str, uid: str, what: str) -> Iterator[None]:
    """Raises our errors for Lance's. Files of a dropped collection are missing, which is ``CollectionNotFound``."""
    try:
        with translated(what):
            yield
    except SearchUnavailable:
        try:
            latest = dataset.checkout_version(dataset.latest_version)
        except FAILURES:
            latest = None
        if latest is not None and read_identity(latest.schema.metadata).uid != uid:
            raise gone(name) from None
        raise


def _options(place: TableLocation) -> dict[str, str] | None:
    return None if place.options is None else dict(place.options)
