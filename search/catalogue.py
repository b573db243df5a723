"""A tenant's collections: opened once and kept, made, listed, dropped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cachetools import LRUCache

from search.aliases import Aliases
from search.collection import Collection
from search.config import SearchConfig
from search.errors import AliasConflict, CollectionExists, CollectionNotFound, InvalidQuery, SearchUnavailable
from search.lance_errors import held, translated
from search.lance_tables import open_dataset
from search.location import SearchLocation, TableLocation, checked_name
from search.maintenance import remove_all_old_versions
from search.segment_files import remove_unnamed
from search.table import RowTable, new_session
from search.types import CollectionSpec
from search.writer import GroupedWriter
from storage.errors import StorageError

__all__ = ["DEFAULT_COLLECTION", "Catalogue", "OpenCollection", "missing_collection"]

DEFAULT_COLLECTION = "default"
_LOG = logging.getLogger(__name__)
_MAX_OPEN_COLLECTIONS = 64  # each holds indexes in memory; the least recently used is closed first
_MAX_SPACES = 16
_MAX_DIMENSIONS = 16_384


@dataclass(frozen=True, slots=True)
class OpenCollection:
    """A collection as this process uses it: its rows, who writes them and who searches them."""

    table: RowTable
    writer: GroupedWriter
    reader: Collection


class Catalogue:
    """Thread-safe. Names are checked (``InvalidQuery``) before anything is looked for."""

    def __init__(
        self, config: SearchConfig, location: SearchLocation, aliases: Aliases, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._location = location
        self._aliases = aliases
        self._clock = clock
        self._session = new_session()
        # A collection that is let go is closed: its background work ends, searches under way end as they are. That
        # may take seconds, so it is done without the lock.
        self._open: LRUCache[tuple[str, str], OpenCollection] = LRUCache(maxsize=_MAX_OPEN_COLLECTIONS)
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def find(self, tenant: str, name: str) -> OpenCollection | None:
        """The collection of that name or that an alias of that name means. ``None`` when there is none."""
        target = self._aliases.remembered(tenant, name)  # spares looking for a collection of that name
        found = None if target is not None else self._find(tenant, name)
        if found is None:
            target = target or self._aliases.target(tenant, name)
            if target is not None:
                found = self._find(tenant, target)
                if found is None:
                    raise missing_collection(name)
        return found

    def find_or_create(self, tenant: str, name: str) -> OpenCollection:
        """The collection, made as the settings say if there is none."""
        return self.find(tenant, name) or self._create(tenant, name, self._config.default_spec())

    def create(self, tenant: str, name: str, spec: CollectionSpec | None) -> OpenCollection:
        """Make a collection. Made before with the same spec, it is the same; else raises ``CollectionExists``.

        Raises ``AliasConflict`` when the name is an alias.
        """
        wanted = _checked_spec(self._config.default_spec() if spec is None else spec)
        found = self._find(tenant, name)
        if found is None:
            if self._aliases.target(tenant, name) is not None:
                raise AliasConflict(f"'{name}' is an alias. Delete it first, or choose another name.")
            found = self._create(tenant, name, wanted)
        if found.table.spec != wanted:
            raise CollectionExists(
                f"There is a collection named '{name}' with other settings. "
                "Delete it first, or choose another name."
            )
        return found

    def drop(self, tenant: str, name: str) -> bool:
        """Delete a collection with its aliases, rows and saved segments; whether it was there.

        Aliases first: should the process die in between, the collection is still there and can be dropped again.
        The commit that drops the table is what counts; what is left behind after it is removed by ``vacuum``.
        """
        checked_name(name, "collection")
        self._aliases.drop_those_of(tenant, name)
        table = RowTable.open(self._location.table(tenant, name), self._session)
        dropped = table is not None and table.drop()
        self.forget(tenant, name)
        if dropped and table is not None:
            self._remove_records(f"search/segments/{tenant}/{table.uid}/")
        return dropped

    def forget(self, tenant: str, name: str, stale: OpenCollection | None = None) -> None:
        """Close a collection, which is opened again when it is next used; only ``stale``, if that is given."""
        with self._lock:
            found = self._open.get((tenant, name))
            if found is None or (stale is not None and found is not stale):
                return
            del self._open[tenant, name]
        found.reader.close()

    def point_alias(self, tenant: str, alias: str, name: str) -> None:
        """See ``serving.services.SearchIndex.point_alias``."""
        checked_name(alias, "alias")
        if self._find(tenant, name) is None:
            raise missing_collection(name)
        if self._find(tenant, alias) is not None:
            raise AliasConflict(f"There is a collection named '{alias}': an alias needs a name of its own.")
        self._aliases.point(tenant, alias, name)

    def tables(self, tenant: str) -> Iterator[RowTable]:
        """All of a tenant's tables, by name. Those that are not open are opened for the moment: a walk over all
        must not close the ones that searches use.
        """
        for place in self._location.tables(tenant):
            with self._lock:
                known = self._open.get((tenant, place.name))
            table = known.table if known is not None else RowTable.open(place, self._session)
            if table is not None:
                yield table

    def names(self, tenant: str) -> Iterator[str]:
        """A tenant's collections."""
        for table in self.tables(tenant):
            yield table.name

    def vacuum(self) -> int:
        """Maintain all tables and remove what dropped ones left; returns how many bytes went. A collection that
        cannot be written at the moment keeps its own until the next time.
        """
        removed = 0
        live: dict[str, list[str]] = {}
        all_known = True  # whose segments are whose
        for tenant in self._location.tenants():
            uids = live[tenant] = []
            for place in self._location.tables(tenant):
                try:
                    table = RowTable.open(place, self._session)
                    if table is None:
                        removed += self._remove_leftovers(place)
                    else:
                        uids.append(table.uid)
                        removed += table.vacuum()
                except CollectionNotFound:  # dropped since
                    continue
                except SearchUnavailable as error:
                    _LOG.warning("A collection was not vacuumed: %s", error)
                    all_known = False
        if all_known and self._location.has_records:
            try:
                removed += remove_unnamed(
                    self._location.records, self._location.cache_folder, live, clock=self._clock
                )
            except SearchUnavailable as error:
                _LOG.warning("Unused segments were not removed: %s", error)
        return removed

    def close(self) -> None:
        """End the background work of all open collections."""
        with self._lock:
            gone = list(self._open.values())
            self._open.clear()
        for opened in gone:
            opened.reader.close()

    def _find(self, tenant: str, name: str) -> OpenCollection | None:
        place = self._location.table(tenant, name)
        with self._lock:
            found = self._open.get((tenant, name))
        if found is not None or not place.exists():  # who asks for what is not there holds nobody up
            return found
        return self._get(place, lambda: RowTable.open(place, self._session))

    def _create(self, tenant: str, name: str, spec: CollectionSpec) -> OpenCollection:
        place = self._location.table(tenant, name)
        found = self._get(place, lambda: RowTable.create(place, spec, self._session, self._clock()))
        if found is None:
            raise SearchUnavailable("The collection could not be made right now. Try again later.")
        return found

    def _get(self, place: TableLocation, make: Callable[[], RowTable | None]) -> OpenCollection | None:
        """What is open under that name, or is opened now; ``None`` when there is nothing to open."""
        key = (place.tenant, place.name)
        gone: OpenCollection | None = None
        with held(self._opening):  # one at a time, and in nobody's way who uses what is open
            with self._lock:
                found = self._open.get(key)
            if found is None and (table := make()) is not None:
                found = self._opened(table)
                with self._lock:
                    if len(self._open) >= _MAX_OPEN_COLLECTIONS:
                        gone = self._open.popitem()[1]
                    self._open[key] = found
        if gone is not None:
            gone.reader.close()
        return found

    def _opened(self, table: RowTable) -> OpenCollection:
        reader = Collection(table, self._config, self._location.records, self._location.cache_folder)
        return OpenCollection(table, GroupedWriter(table), reader)

    def _remove_leftovers(self, place: TableLocation) -> int:
        with translated("cleared"):
            return remove_all_old_versions(open_dataset(place, self._session))

    def _remove_records(self, prefix: str) -> None:
        try:
            for info in list(self._location.records.list(prefix)):
                self._location.records.delete(info.key)
        except StorageError as error:
            _LOG.warning("A dropped collection's segments were not removed yet: %s", error)


def missing_collection(name: str) -> CollectionNotFound:
    """The error for a collection that nobody made."""
    return CollectionNotFound(f"There is no collection named '{name}'. Add something to it first.")


def _checked_spec(spec: CollectionSpec) -> CollectionSpec:
    names = [space.name for space in spec.spaces]
    if not 1 <= len(names) <= _MAX_SPACES or len(set(names)) < len(names):
        raise InvalidQuery(f"A collection has 1 to {_MAX_SPACES} embedding spaces with different names.")
    for space in spec.spaces:
        checked_name(space.name, "space")
        if not 1 <= space.dimensions <= _MAX_DIMENSIONS:
            raise InvalidQuery(f"A space's vectors have 1 to {_MAX_DIMENSIONS} dimensions.")
    shortened = spec.index.dimensions
    if shortened is not None and not 1 <= shortened <= min(space.dimensions for space in spec.spaces):
        raise InvalidQuery("An index cannot have more dimensions than the vectors of the collection.")
    return spec
