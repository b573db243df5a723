"""The search engine: tenants' collections below one root folder or in one bucket."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

import pyarrow as pa

from search.aliases import Aliases
from search.catalogue import DEFAULT_COLLECTION, Catalogue, OpenCollection, missing_collection
from search.clustering import clusters as find_clusters
from search.config import SearchConfig
from search.errors import CollectionNotFound, InvalidQuery, ModelMismatch, SearchUnavailable, WritesPaused
from search.filters import Condition
from search.layout import MAX_PLACES, lay_out
from search.location import SearchLocation, checked_name
from search.rows import checked_document_id, rows_table, unit_vector
from search.table import RowTable
from search.types import (
    DEFAULT_SPACE,
    Cluster,
    CollectionInfo,
    CollectionMap,
    CollectionSpec,
    Place,
    Query,
    Row,
    ScoreKind,
    SearchAnswer,
    SpaceSpec,
    StoredDocument,
)
from search.upkeep import Upkeep

__all__ = ["DEFAULT_COLLECTION", "MAX_TOP_K", "SearchEngine"]

T = TypeVar("T")
MAX_TOP_K = 1000
_PAUSED_SECONDS = 30.0
_PAUSED_POLL_SECONDS = 0.02


class SearchEngine:
    """Satisfies ``serving.services.SearchIndex``, but synchronously. Thread-safe; any number of engines, in any
    processes, may share one root or bucket.

    The collection ``default`` exists for everyone, if only empty. ``clock`` gives seconds since the epoch. Raises
    ``SearchUnavailable`` when the root folder cannot be used.
    """

    def __init__(self, config: SearchConfig, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._location = SearchLocation(config)
        self._aliases = Aliases(self._location)
        self._catalogue = Catalogue(config, self._location, self._aliases, clock)
        self._upkeep = Upkeep()

    # Collections and aliases

    def create(self, tenant: str, name: str, spec: CollectionSpec | None = None) -> CollectionInfo:
        """See ``SearchIndex.create``."""
        return self._info(tenant, self._catalogue.create(tenant, name, spec))

    def describe(self, tenant: str, collection: str) -> CollectionInfo:
        """See ``SearchIndex.describe``."""
        found = self._use(tenant, collection, lambda opened: self._info(tenant, opened))
        if found is None:
            raise missing_collection(collection)
        return found

    def collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        """See ``SearchIndex.collections``."""
        found = []
        for name in self._catalogue.names(tenant):
            with suppress(CollectionNotFound):  # dropped since
                found.append(self.describe(tenant, name))
        return tuple(found)

    def drop(self, tenant: str, name: str) -> bool:
        """See ``SearchIndex.drop``."""
        return self._catalogue.drop(tenant, name)

    def point_alias(self, tenant: str, alias: str, name: str) -> None:
        """See ``SearchIndex.point_alias``. Other processes follow within a second."""
        self._catalogue.point_alias(tenant, alias, name)

    def drop_alias(self, tenant: str, alias: str) -> bool:
        """See ``SearchIndex.drop_alias``."""
        return self._aliases.drop(tenant, alias)

    # Documents

    def add(self, tenant: str, collection: str, rows: Sequence[Row]) -> int:
        """Write rows durably, replacing the documents they belong to; returns a version that holds them.

        All rows become visible at once. The collection is made if there is none. Raises ``ModelMismatch`` when the
        collection is of another model than the settings name.
        """
        if not rows:
            raise InvalidQuery("Nothing to add: give at least one row.")
        checked_name(tenant, "tenant")
        checked_name(collection, "collection")
        created_at_seconds = self._clock()

        def write(opened: OpenCollection) -> int:
            self._check_model(opened.table.spec.spaces[0])
            table = rows_table(tenant, rows, opened.table.spec, created_at_seconds)
            return self.write(opened, table, sorted({row.document_id for row in rows}))

        version = self._write_if_there(tenant, collection, write)
        if version is None:
            # Before a collection is made for rows that cannot be stored:
            rows_table(tenant, rows, self._config.default_spec(), created_at_seconds)
            version = write(self._catalogue.find_or_create(tenant, collection))
        return version

    def search(self, tenant: str, collection: str, query: Query) -> SearchAnswer:
        """The ``top_k`` best documents, best first (ties in order of document id).

        Raises ``CollectionNotFound``, ``DimensionMismatch``, ``ModelMismatch`` and ``InvalidQuery``, also for a
        ``min_version`` that does not exist.
        """
        if not 1 <= query.top_k <= MAX_TOP_K:
            raise InvalidQuery(f"top_k must be between 1 and {MAX_TOP_K}.")

        def look(opened: OpenCollection) -> SearchAnswer:
            first = opened.table.spec.spaces[0]
            if query.vector is not None and query.space in (DEFAULT_SPACE, first.name):
                self._check_model(first)
            return opened.reader.search(query)

        answer = self._use(tenant, collection, look)
        return self._nothing(query) if answer is None else answer

    def documents(
        self, tenant: str, collection: str, document_ids: Sequence[str]
    ) -> tuple[StoredDocument, ...]:
        """See ``SearchIndex.documents``."""
        return self._use(tenant, collection, lambda opened: opened.reader.documents(document_ids)) or ()

    def scroll(
        self,
        tenant: str,
        collection: str,
        after: str | None = None,
        limit: int = 100,
        where: Condition | None = None,
    ) -> tuple[StoredDocument, ...]:
        """See ``SearchIndex.scroll``."""
        return self._use(tenant, collection, lambda opened: opened.reader.scroll(after, limit, where)) or ()

    def known_contents(self, tenant: str, collection: str, content_hashes: Sequence[str]) -> dict[str, str]:
        """See ``SearchIndex.known_contents``."""
        found = self._use(tenant, collection, lambda opened: opened.reader.known_contents(content_hashes))
        return found or {}

    def clusters(
        self, tenant: str, collection: str, count: int, where: Condition | None = None
    ) -> tuple[Cluster, ...]:
        """See ``SearchIndex.clusters``."""
        if count < 1:
            raise InvalidQuery("A collection is divided into at least one cluster.")

        def divide(opened: OpenCollection) -> tuple[Cluster, ...]:
            ids, vectors = opened.reader.document_vectors(where)
            return find_clusters(ids, vectors, count, self._config.threads)

        return self._use(tenant, collection, divide) or ()

    def layout(
        self, tenant: str, collection: str, count: int, limit: int, where: Condition | None = None
    ) -> CollectionMap:
        """See ``SearchIndex.layout``."""
        if count < 1 or limit < 1:
            raise InvalidQuery("A map has at least one cluster and one document.")

        def place(opened: OpenCollection) -> CollectionMap:
            documents, ids, vectors = opened.reader.sampled_vectors(where, MAX_PLACES)
            found = lay_out(ids, vectors, count, min(limit, MAX_PLACES), self._config.threads)
            shown = [ids[number] for number in found.numbers.tolist()]
            kinds = opened.reader.kinds(shown)
            places = [
                Place(one, *kinds[one], x, y, cluster)
                for one, (x, y), cluster in zip(
                    shown, found.positions.tolist(), found.members.tolist(), strict=True
                )
                if one in kinds  # else deleted since
            ]
            return CollectionMap(documents, len(ids), found.explained, tuple(places), found.clusters)

        return self._use(tenant, collection, place) or CollectionMap(0, 0, (0.0, 0.0), (), ())

    def delete(self, tenant: str, collection: str, document_id: str) -> int:
        """Remove a document and return a version without it (0 from a ``default`` that nothing was added to)."""

        def remove(opened: OpenCollection) -> int:
            return opened.writer.delete([checked_document_id(document_id)])

        version = self._write_if_there(tenant, collection, remove)
        if version is None and collection != DEFAULT_COLLECTION:
            raise missing_collection(collection)
        return version or 0

    def delete_media(self, tenant: str, media_ids: Sequence[str]) -> int:
        """Remove what was made of some media from all the tenant's collections; returns how many documents that
        were. Collections without such rows get no new version.
        """
        if not media_ids:
            return 0
        deadline = time.monotonic() + _PAUSED_SECONDS
        documents = 0
        while True:
            try:
                for found in self._of_all_tables(tenant, lambda table: table.delete_media(media_ids)):
                    documents += found
                return documents
            except WritesPaused:  # a copy may be on its way to a table that was asked already
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSED_POLL_SECONDS)

    # For what goes on behind a collection (search.reembedding)

    def opened(self, tenant: str, collection: str) -> OpenCollection:
        """The collection as this process uses it, or ``CollectionNotFound``."""
        found = self._catalogue.find(tenant, collection)
        if found is None:
            raise missing_collection(collection)
        return found

    def write(self, opened: OpenCollection, rows: pa.Table, document_ids: Sequence[str]) -> int:
        """Put rows, validated and laid out, in place of some documents, whatever model they are of."""
        version = opened.writer.replace(rows, document_ids)
        self._upkeep.after_write(opened.table, len(rows))
        return version

    # Upkeep

    def media_ids(self, tenant: str) -> frozenset[str]:
        """Every medium that a tenant's collections hold something of."""
        return frozenset().union(*self._of_all_tables(tenant, RowTable.media_ids))

    def vacuum(self) -> int:
        """See ``SearchIndex.vacuum``."""
        return self._catalogue.vacuum()

    def tenants(self) -> tuple[str, ...]:
        """Who has collections, by name."""
        return self._location.tenants()

    def check(self) -> None:
        """Raise ``SearchUnavailable`` when the tables cannot be reached."""
        self._location.check()

    def close(self) -> None:
        """End all background work. The engine may be used again."""
        self._upkeep.close()
        self._catalogue.close()

    def _use(self, tenant: str, collection: str, use: Callable[[OpenCollection], T]) -> T | None:
        """Do something with a collection; ``None`` from a ``default`` that nobody made."""
        result = self._use_if_there(tenant, collection, use)
        if result is None and collection != DEFAULT_COLLECTION:
            raise missing_collection(collection)
        return result

    def _use_if_there(self, tenant: str, collection: str, use: Callable[[OpenCollection], T]) -> T | None:
        """Do something with a collection, if there is one. Dropped meanwhile, and perhaps made anew, it is looked
        for once more.
        """
        found = self._catalogue.find(tenant, collection)
        if found is not None:
            try:
                return use(found)
            except CollectionNotFound:
                self._catalogue.forget(tenant, found.table.name, found)
                found = self._catalogue.find(tenant, collection)
        return None if found is None else use(found)

    def _write_if_there(
        self, tenant: str, collection: str, write: Callable[[OpenCollection], int]
    ) -> int | None:
        """Write to a collection, if there is one. While its writes are paused the alias is about to be pointed
        elsewhere: what comes through the alias goes there. So does what was on its way all the while: a write
        through an alias counts only if the alias still means that collection afterwards.
        """
        deadline = time.monotonic() + _PAUSED_SECONDS
        while True:
            written_to = collection

            def note(opened: OpenCollection) -> int:
                nonlocal written_to
                written_to = opened.table.name
                return write(opened)

            try:
                version = self._use_if_there(tenant, collection, note)
            except WritesPaused:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSED_POLL_SECONDS)
            else:
                if written_to == collection:
                    return version
                if self._aliases.target_now(tenant, collection) in (written_to, None):
                    return version
                if time.monotonic() > deadline:
                    raise SearchUnavailable(
                        "The alias is pointed elsewhere again and again. Try again shortly."
                    )
            self._aliases.forget(tenant, collection)

    def _of_all_tables(self, tenant: str, ask: Callable[[RowTable], T]) -> Iterator[T]:
        for table in self._catalogue.tables(tenant):
            with suppress(CollectionNotFound):  # dropped since
                yield ask(table)

    def _info(self, tenant: str, opened: OpenCollection) -> CollectionInfo:
        rows, documents, modalities = opened.reader.counts()
        table = opened.table
        aliases = tuple(alias for alias, name in self._aliases.all(tenant).items() if name == table.name)
        return CollectionInfo(
            name=table.name,
            spec=table.spec,
            version=table.latest_version(),
            rows=rows,
            documents=documents,
            modalities=modalities,
            aliases=aliases,
            created_at_seconds=table.created_at_seconds,
        )

    def _nothing(self, query: Query) -> SearchAnswer:
        """The answer from a ``default`` that nobody made."""
        if query.vector is not None:
            unit_vector(query.vector, self._config.dimensions)
        if query.min_version:
            raise InvalidQuery(
                f"The collection has no version {query.min_version}. "
                "Use the version that adding or deleting returned."
            )
        kind: ScoreKind = "cosine"
        if query.text is not None:
            kind = "bm25" if query.vector is None else "reciprocal_rank"
        return SearchAnswer((), kind, 0)

    def _check_model(self, space: SpaceSpec) -> None:
        if space.model and self._config.model and space.model != self._config.model:
            raise ModelMismatch(
                f"This collection holds vectors of the model '{space.model}', and '{self._config.model}' makes "
                "them now. Re-embed the collection, or go back to its model."
            )
