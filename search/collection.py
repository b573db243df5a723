"""One tenant's collection as a reader sees it: the snapshot that searches are answered from."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.columns import vector_column
from search.config import SearchConfig
from search.errors import InvalidQuery, SearchUnavailable
from search.filters import Condition
from search.grouping import answered
from search.metadata import check_condition
from search.query_checks import check_query
from search.rows import unit_vector
from search.snapshot import Snapshot
from search.stored_documents import document_means, find_contents, find_documents, scrolled
from search.table import RowTable
from search.types import DEFAULT_SPACE, Query, SearchAnswer, StoredDocument
from storage.objects import ObjectStore

__all__ = ["Collection", "missing_version"]

_LOAD_WAIT_SECONDS = 60.0


class Collection:
    """Thread-safe. Searches run on an immutable snapshot; refreshing makes a new one and swaps the reference.

    Every method that reads sees at least every commit that happened before the call, but for refreshes that another
    thread is busy with. ``objects`` keeps saved segments, ``cache_folder`` this machine's copies of them.
    """

    def __init__(
        self, table: RowTable, settings: SearchConfig, objects: ObjectStore, cache_folder: Path
    ) -> None:
        self._table = table
        self._settings = settings
        self._refresh_lock = threading.Lock()
        self._snapshot = Snapshot()

    @property
    def snapshot(self) -> Snapshot:
        """What searches are answered from at the moment."""
        return self._snapshot

    def search(self, query: Query) -> SearchAnswer:
        """The best documents. ``query.min_version``, if given, is always waited for. Raises ``InvalidQuery``, also
        for a version that was never committed, and ``DimensionMismatch``.
        """
        check_query(query)
        space = self._space(query.space)
        vector = None
        if query.vector is not None:
            dimensions = next(one.dimensions for one in self._table.spec.spaces if one.name == space)
            vector = unit_vector(query.vector, dimensions)
        return answered(self._current(query.min_version), vector, query, space)

    def documents(self, document_ids: Sequence[str]) -> tuple[StoredDocument, ...]:
        """Stored documents with their vectors, in the order of the ids; missing ones are left out."""
        return find_documents(self._current(), self._table.spec, document_ids)

    def scroll(self, after: str | None, limit: int, where: Condition | None) -> tuple[StoredDocument, ...]:
        """At most ``limit`` documents of which a row satisfies ``where``, in order of id, from the one after
        ``after`` on.
        """
        if limit < 1:
            raise InvalidQuery("At least one document must be asked for.")
        if where is not None:
            check_condition(where)
        return scrolled(self._current(), self._table.spec, after, limit, where)

    def known_contents(self, content_hashes: Sequence[str]) -> dict[str, str]:
        """Which of some contents are indexed, and the id of a document of each (the first in order)."""
        return find_contents(self._current(), content_hashes)

    def document_vectors(self, where: Condition | None) -> tuple[list[str], NDArray[np.float32]]:
        """Ids, in order, and of each document the mean of its rows' vectors (those that satisfy ``where``) in the
        first space, float32 ``(documents, dimensions)`` with L2 norm 1.
        """
        if where is not None:
            check_condition(where)
        return document_means(self._current(), self._table.spec, where)

    def counts(self) -> tuple[int, int, dict[str, int]]:
        """Rows, documents, and documents by modality."""
        return self._current().count()

    def build_now(self) -> None:
        """Do background building that is due in this thread, and wait for it."""

    def close(self) -> None:
        """End background work. Searches go on."""

    def _space(self, name: str) -> str:
        first = self._table.spec.spaces[0].name
        if name == DEFAULT_SPACE and all(space.name != name for space in self._table.spec.spaces):
            return first
        vector_column(self._table.spec, name)  # refuses one that the collection does not have
        return name

    def _current(self, min_version: int | None = None) -> Snapshot:
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
                self._snapshot = self._snapshot.advanced(
                    self._table.state(), self._table.spec, self._settings.flat_rows
                )
            return self._snapshot
        finally:
            self._refresh_lock.release()


def missing_version(version: int) -> InvalidQuery:
    """The error for a ``min_version`` that does not exist."""
    return InvalidQuery(
        f"The collection has no version {version}. Use the version that adding or deleting returned."
    )
