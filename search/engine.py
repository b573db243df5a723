"""The search engine: tenants' collections under one root folder."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cachetools import LRUCache

from search.collection import Collection, missing_version, unit_vector
from search.config import SearchConfig
from search.errors import CollectionNotFound, InvalidQuery, SearchUnavailable
from search.segment import canonical_value
from search.table import RowTable, new_session
from search.types import Hit, Query, Row

__all__ = ["DEFAULT_COLLECTION", "MAX_TOP_K", "SearchEngine"]

DEFAULT_COLLECTION = "default"
MAX_TOP_K = 1000
_SUFFIX = ".lance"
_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
_MAX_OPEN_COLLECTIONS = 64  # each holds its vectors in memory; the least recently used is closed first


class SearchEngine:
    """Synchronous and thread-safe; any number of engines, in any processes, may share one root.

    ``clock`` gives seconds since the epoch. Raises ``SearchUnavailable`` when the root folder cannot be used.
    """

    def __init__(self, config: SearchConfig, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._session = new_session()
        self._open: LRUCache[tuple[str, str], Collection] = LRUCache(maxsize=_MAX_OPEN_COLLECTIONS)
        self._lock = threading.Lock()
        try:
            config.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SearchUnavailable("The folder for search collections cannot be made.") from error

    def add(self, tenant: str, collection: str, rows: Sequence[Row]) -> int:
        """Write rows durably, replacing the documents they belong to; returns a version that holds them.

        All rows become visible at once. The collection is made if there is none.
        """
        if not rows:
            raise InvalidQuery("Nothing to add: give at least one row.")
        for row in rows:  # before a collection is made for rows that cannot be stored
            unit_vector(row.vector, self._config.dimensions)
        found = self._find(tenant, collection) or self._create(tenant, collection)
        return found.add(rows, self._clock())

    def search(self, tenant: str, collection: str, query: Query) -> tuple[Hit, ...]:
        """The ``top_k`` best documents, best first (ties in order of document id).

        The collection ``default`` exists for everyone, if only empty; for others raises
        ``CollectionNotFound``. Raises ``DimensionMismatch`` and ``InvalidQuery``, also for a ``min_version``
        that does not exist.
        """
        if not 1 <= query.top_k <= MAX_TOP_K:
            raise InvalidQuery(f"top_k must be between 1 and {MAX_TOP_K}.")
        for value in query.filters.values():
            canonical_value(value)
        found = self._find(tenant, collection)
        if found is None:
            unit_vector(query.vector, self._config.dimensions)
            self._require_default(collection)
            if query.min_version:
                raise missing_version(query.min_version)
            return ()
        return found.search(query)

    def delete(self, tenant: str, collection: str, document_id: str) -> int:
        """Remove a document and return a version without it (0 from a ``default`` that nothing was added
        to).
        """
        found = self._find(tenant, collection)
        if found is None:
            self._require_default(collection)
            return 0
        return found.delete(document_id)

    def delete_media(self, tenant: str, media_ids: Sequence[str]) -> int:
        """Remove what was made of some media from all the tenant's collections; returns how many documents
        that were. Collections without such rows get no new version.
        """
        if not media_ids:
            return 0
        return sum(table.delete_media(media_ids) for table in self._tables(tenant))

    def media_ids(self, tenant: str) -> frozenset[str]:
        """Every medium that a tenant's collections hold something of."""
        return frozenset().union(*(table.media_ids() for table in self._tables(tenant)))

    def vacuum(self) -> int:
        """Take deleted rows of all collections off the disk; returns how many bytes. A collection that cannot be
        written at the moment (another writer was quicker) keeps its own until the next time.
        """
        removed = 0
        for tenant in self.tenants():
            for table in self._tables(tenant):
                try:
                    removed += table.vacuum()
                except SearchUnavailable as error:
                    _LOG.warning("A collection was not vacuumed: %s", error)
        return removed

    def tenants(self) -> tuple[str, ...]:
        """Who has collections, by name."""
        return tuple(name for name in self._names(self._config.root) if _NAME.fullmatch(name))

    def check(self) -> None:
        """Raise ``SearchUnavailable`` when the root folder cannot be read."""
        try:
            next(self._config.root.iterdir(), None)
        except OSError as error:
            raise SearchUnavailable("The folder of the search collections cannot be read.") from error

    def _find(self, tenant: str, collection: str) -> Collection | None:
        key = (_checked_name(tenant, "tenant"), _checked_name(collection, "collection"))
        with self._lock:
            found = self._open.get(key)
            if found is None:
                table = RowTable.open(self._config.root / tenant / f"{collection}{_SUFFIX}", self._session)
                if table is not None:
                    found = self._open[key] = self._collection(tenant, table)
            return found

    def _tables(self, tenant: str) -> Iterator[RowTable]:
        """All of a tenant's tables. Those that are not open are opened for the moment: a walk over all must
        not close the ones that searches use.
        """
        folder = self._config.root / _checked_name(tenant, "tenant")
        for name in self._names(folder):
            with self._lock:
                known = (
                    self._open.get((tenant, name.removesuffix(_SUFFIX))) if name.endswith(_SUFFIX) else None
                )
            table = known.table if known is not None else RowTable.open(folder / name, self._session)
            if table is not None:
                yield table

    @staticmethod
    def _names(folder: Path) -> list[str]:
        try:
            return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SearchUnavailable("The folder of the search collections cannot be read.") from error

    def _create(self, tenant: str, collection: str) -> Collection:
        path = self._config.root / tenant / f"{collection}{_SUFFIX}"
        with self._lock:
            found = self._open.get((tenant, collection))
            if found is None:
                table = RowTable.create(path, self._config.dimensions, self._session)
                found = self._open[tenant, collection] = self._collection(tenant, table)
            return found

    def _collection(self, tenant: str, table: RowTable) -> Collection:
        return Collection(tenant, table, self._config.threads)

    @staticmethod
    def _require_default(collection: str) -> None:
        if collection != DEFAULT_COLLECTION:
            raise CollectionNotFound(
                f"There is no collection named '{collection}'. Add something to it first."
            )


def _checked_name(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidQuery(
            f"A {what}'s name must be 1 to 128 letters, digits and _ . @ - and not start with one of . @ -."
        )
    return name
