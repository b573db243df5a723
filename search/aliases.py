"""Aliases: second names of collections, which can be switched to another one at once.

Each is a record in the object store, replaced whole. Whoever points an alias sees it at once; other processes keep
what they read for a second at most. A collection comes before an alias of the same name: should the two be made in
the same moment, the alias is without effect.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachetools import TTLCache

from search.errors import SearchUnavailable
from search.lance_errors import held
from search.location import SearchLocation, checked_name
from storage.errors import ObjectNotFound, StorageError

__all__ = ["SEEN_ELSEWHERE_SECONDS", "Aliases"]

_LOG = logging.getLogger(__name__)
_PREFIX = "search/aliases/"
SEEN_ELSEWHERE_SECONDS = 1.0
"""After which every process has noticed that an alias was pointed elsewhere."""

_MAX_REMEMBERED = 4096


class Aliases:
    """Thread-safe. ``clock`` gives monotonic seconds. Raises ``SearchUnavailable`` when the store does not answer,
    and ``InvalidQuery`` for names that cannot be.
    """

    def __init__(self, location: SearchLocation, clock: Callable[[], float] = time.monotonic) -> None:
        self._location = location
        self._remembered: TTLCache[tuple[str, str], str | None] = TTLCache(
            _MAX_REMEMBERED, SEEN_ELSEWHERE_SECONDS, timer=clock
        )
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()  # so that what is remembered last is what was written last

    def target(self, tenant: str, name: str) -> str | None:
        """The collection that ``name`` is an alias of, or ``None``."""
        key = (tenant, name)
        with self._lock:
            if key in self._remembered:
                found: str | None = self._remembered[key]
                return found
        target = self._read(tenant, name)
        with self._lock:
            # Somebody of this process may have pointed it since: what they remembered is newer.
            return self._remembered.setdefault(key, target)

    def target_now(self, tenant: str, name: str) -> str | None:
        """The same, as it stands in the store at this moment."""
        return self._read(tenant, name)

    def remembered(self, tenant: str, name: str) -> str | None:
        """What ``target`` answered a moment ago; ``None`` when it was not asked, or knew of no such alias."""
        with self._lock:
            found: str | None = self._remembered.get((tenant, name))
            return found

    def forget(self, tenant: str, name: str) -> None:
        """Read a name again when it is next asked for."""
        with self._lock:
            self._remembered.pop((tenant, name), None)

    def all(self, tenant: str) -> dict[str, str]:
        """A tenant's aliases and their collections, by name. One whose record is damaged is left out: the others,
        and collections, can still be described and dropped.
        """
        checked_name(tenant, "tenant")
        if not self._location.has_records:
            return {}
        prefix = f"{_PREFIX}{tenant}/"
        with _store_errors():
            names = sorted(info.key.removeprefix(prefix) for info in self._location.records.list(prefix))
        found = {}
        for name in names:
            record = self._record(tenant, name)
            target = None if record is None else _collection(record)
            if target is not None:
                found[name] = target
            elif record is not None:
                _LOG.error("The record of the alias %r is damaged.", name)
        return found

    def point(self, tenant: str, alias: str, collection: str) -> None:
        """Make ``alias`` mean ``collection`` from now on."""
        key = _key(tenant, alias)
        with held(self._write_lock):
            with _store_errors():
                self._location.records.put(key, json.dumps({"collection": collection}).encode())
            with self._lock:
                self._remembered[tenant, alias] = collection

    def drop(self, tenant: str, alias: str) -> bool:
        """Delete an alias; whether it was there."""
        key = _key(tenant, alias)
        with held(self._write_lock):
            there = self._record(tenant, alias) is not None
            if there:
                with _store_errors():
                    self._location.records.delete(key)
            with self._lock:
                self._remembered[tenant, alias] = None
        return there

    def drop_those_of(self, tenant: str, collection: str) -> None:
        """Delete all aliases of a collection."""
        for alias, target in self.all(tenant).items():
            if target == collection:
                self.drop(tenant, alias)

    def _read(self, tenant: str, alias: str) -> str | None:
        record = self._record(tenant, alias)
        if record is None:
            return None
        target = _collection(record)
        if target is None:
            raise SearchUnavailable(
                f"The record of the alias '{alias}' is damaged. Point the alias again, or delete it."
            )
        return target

    def _record(self, tenant: str, alias: str) -> bytes | None:
        key = _key(tenant, alias)
        if not self._location.has_records:
            return None
        with _store_errors():
            try:
                return self._location.records.get(key)
            except ObjectNotFound:
                return None


def _collection(record: bytes) -> str | None:
    """What the record of an alias names; ``None`` when it is damaged."""
    try:
        return str(json.loads(record)["collection"])
    except (KeyError, TypeError, ValueError):
        return None


def _key(tenant: str, alias: str) -> str:
    return f"{_PREFIX}{checked_name(tenant, 'tenant')}/{checked_name(alias, 'alias')}"


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except ObjectNotFound:
        raise
    except StorageError as error:
        raise SearchUnavailable(error.message) from error
