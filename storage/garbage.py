"""Garbage collection: what crashes, abandoned uploads and lost races left in the store.

Mark and sweep: one listing of records and one of references say what is needed, in a few bytes each; what is
neither marked nor younger than the grace period is looked at once more and then removed by the same safe
deletion that users' deletions take. Any number of collectors may run beside a running platform.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from storage.errors import InvalidKey, ObjectNotFound
from storage.keys import blob_key, check_object_key, content_of, damaged_record_prefix, record_key, tenant_of
from storage.marks import Marks
from storage.media import MediaStore
from storage.objects import ObjectStore, exists
from storage.records import is_media_id
from storage.types import ObjectInfo

__all__ = ["GarbageCollector", "GarbageReport", "Sweepable"]

_LOG = logging.getLogger(__name__)


class Sweepable(Protocol):
    """Removes its own leftovers (``storage.uploads.UploadStore``)."""

    def sweep(self, now_seconds: float | None = None) -> int:
        """Remove what is not needed any more; how many objects went."""
        ...


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """How many of each were removed. ``leftovers`` are derived artifacts, digests, fingerprints and quarantined
    bytes whose source is gone.
    """

    trash: int = 0
    references: int = 0
    blobs: int = 0
    leftovers: int = 0
    staged: int = 0
    uploads: int = 0


class GarbageCollector:
    """Collects over an ``ObjectStore``. Nothing younger than ``grace_seconds`` is touched, except by ``uploads``,
    which knows its own times. ``clock`` gives seconds since the epoch.
    """

    def __init__(
        self,
        store: ObjectStore,
        media: MediaStore,
        uploads: Sweepable,
        clock: Callable[[], float],
        grace_seconds: float,
    ) -> None:
        self._store = store
        self._media = media
        self._uploads = uploads
        self._clock = clock
        self._grace_seconds = grace_seconds

    def recover(self) -> None:
        """Finish what a crash cut short; quick, to be called at start."""
        self._media.blobs.recover()

    def collect(self) -> GarbageReport:
        """One whole pass. Raises ``StoreUnavailable``; what was done until then stays done."""
        trash = self._media.blobs.recover()
        records = Marks(_owner_and_id(info.key) for info in self._store.list("files/"))
        references = self._sweep_references(records)
        blobs, leftovers = self._sweep_contents()
        leftovers += self._sweep_fingerprints(records)
        report = GarbageReport(
            trash=trash,
            references=references,
            blobs=blobs,
            leftovers=leftovers,
            staged=self._sweep_staging(),
            uploads=self._uploads.sweep(self._clock()),
        )
        if report != GarbageReport():
            _LOG.info("Garbage was collected: %s", report)
        return report

    def _sweep_references(self, records: Marks) -> int:
        """References whose record never came or is gone."""
        removed = 0
        for info in self._old("refs/"):
            content, media_id = content_of(info.key), info.key.rpartition("/")[2]
            if content is None or not is_media_id(media_id):
                continue  # not ours; ``verify`` reports it
            tenant, sha256 = content
            # Records that came after they were listed are seen by the second look.
            if f"{tenant}/{media_id}" in records or self._media.has_record(tenant, sha256, media_id):
                continue
            if self._is_old(info.key):  # an upload may have written it anew since it was listed
                removed += self._media.drop_reference(tenant, sha256, media_id)
        return removed

    def _sweep_contents(self) -> tuple[int, int]:
        """Blobs that no reference needs, and what belongs to contents that are gone."""
        removed = 0
        needed = Marks("/".join(info.key.split("/")[1:3]) for info in self._store.list("refs/"))
        for info in self._old("blobs/"):
            content = content_of(info.key)
            if content is not None and "/".join(content) not in needed:
                self._media.blobs.discard(*content)
                removed += not exists(self._store, info.key)
        leftovers = 0
        for folder in ("derived/", "digests/", "quarantine/"):
            for info in self._old(folder):
                content = content_of(info.key)
                if content is None:
                    is_garbage = info.key.startswith(damaged_record_prefix(tenant_of(info.key)))
                else:
                    is_needed = "/".join(content) in needed
                    is_garbage = not is_needed and not exists(self._store, blob_key(*content))
                if is_garbage:
                    self._store.delete(info.key)
                    leftovers += 1
        return removed, leftovers

    def _sweep_fingerprints(self, records: Marks) -> int:
        removed = 0
        for info in self._old("fingerprints/"):
            owner_and_id = _owner_and_id(info.key).rpartition("-")[0]
            tenant, _, media_id = owner_and_id.partition("/")
            if not is_media_id(media_id) or owner_and_id in records:
                continue
            if not exists(self._store, record_key(tenant, media_id)):
                self._store.delete(info.key)
                removed += 1
        return removed

    def _sweep_staging(self) -> int:
        removed = 0
        for info in self._old("staging/"):
            self._store.delete(info.key)
            removed += 1
        return removed

    def _old(self, prefix: str) -> Iterator[ObjectInfo]:
        for info in self._store.list(prefix):
            if info.modified_at_seconds < self._clock() - self._grace_seconds:
                try:
                    check_object_key(info.key)
                except InvalidKey:  # others put objects into a bucket under names that we cannot even ask for
                    continue
                yield info

    def _is_old(self, key: str) -> bool:
        try:
            return self._store.head(key).modified_at_seconds < self._clock() - self._grace_seconds
        except ObjectNotFound:
            return False


def _owner_and_id(key: str) -> str:
    """``<tenant>/<id>`` of a record's key, with the hash behind it of a fingerprint's."""
    return key.partition("/")[2].removesuffix(".json")
