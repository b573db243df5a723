"""Pictures that look alike: perceptual hashes of 64 bits, compared by how many bits differ.

They lie in the keys of empty objects, ``fingerprints/<tenant>/<id>-<16 hex digits>``, so that a tenant's are had
by one listing. That is kept in memory and compared at once: a million take a few milliseconds.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from storage.errors import MediaNotFound
from storage.keys import check_tenant, fingerprint_prefix
from storage.objects import ObjectStore, exists
from storage.records import id_time_seconds, is_media_id, new_media_id

__all__ = ["FingerprintIndex"]

_HASH = re.compile(r"[0-9a-f]{16}")
_ID_CHARACTERS = len("file-") + 32
_KEPT_FINGERPRINTS = 4_000_000  # over all tenants, 45 bytes each
_REFRESH_SECONDS = 10.0
_RELIST_SECONDS = 600.0
_OVERLAP_SECONDS = (
    900.0  # how much later than its medium a fingerprint may come and still be seen at a refresh
)


@dataclass(slots=True)
class _Listing:
    """A tenant's fingerprints in no order. ``ids`` is S37, ``hashes`` uint64, both of shape (n,)."""

    ids: NDArray[np.bytes_]
    hashes: NDArray[np.uint64]
    listed_at: float
    refreshed_at: float

    @property
    def size(self) -> int:
        """What it counts for among those kept."""
        return min(max(1, len(self.ids)), _KEPT_FINGERPRINTS)


class FingerprintIndex:
    """Fingerprints over an ``ObjectStore``. Threads and processes may share the store behind it.

    What this process adds is found at once, what others add after some seconds; what anybody removed is never
    found. ``timer`` gives seconds that never go back.
    """

    def __init__(self, store: ObjectStore, timer: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._timer = timer
        self._lock = threading.Lock()
        self._tenant_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._listings: LRUCache[str, _Listing] = LRUCache(_KEPT_FINGERPRINTS, lambda listing: listing.size)

    def add(self, tenant: str, media_id: str, perceptual_hash: str) -> None:
        """Keep a picture's hash (16 hex digits); it goes with its medium. Again is no error.

        Raises ``MediaNotFound`` for a malformed id.
        """
        _check(tenant, media_id)
        self._store.put(fingerprint_prefix(tenant, media_id) + _check_hash(perceptual_hash), b"")
        with self._tenant_lock(tenant):
            listing = self._kept(tenant)
            if listing is not None:
                ids, hashes = _arrays([(media_id, perceptual_hash)])
                self._keep(tenant, _joined(listing, ids, hashes))

    def near(
        self,
        tenant: str,
        perceptual_hash: str,
        max_distance: int,
        limit: int = 10,
        exclude: str | None = None,
    ) -> list[tuple[str, int]]:
        """Ids of pictures whose hash differs in at most ``max_distance`` bits, and in how many: nearest first,
        among equals the newest. ``exclude`` is an id that is left out.
        """
        check_tenant(tenant)
        wanted = np.uint64(int(_check_hash(perceptual_hash), 16))
        listing = self._fresh(tenant)
        distances = np.bitwise_count(listing.hashes ^ wanted)
        (rows,) = np.nonzero(distances <= max_distance)
        rows = rows[np.lexsort((listing.ids[rows], distances[rows]))]
        found: dict[str, int] = {}
        for row in rows:
            if len(found) >= limit:
                break
            media_id = listing.ids[row].decode()
            if media_id in found or media_id == exclude:
                continue
            # Removed ones may still be in the listing.
            if exists(self._store, f"{fingerprint_prefix(tenant, media_id)}{int(listing.hashes[row]):016x}"):
                found[media_id] = int(distances[row])
        return list(found.items())

    def _fresh(self, tenant: str) -> _Listing:
        now = self._timer()
        with self._tenant_lock(tenant):
            listing = self._kept(tenant)
            if listing is None or not len(listing.ids) or now - listing.listed_at >= _RELIST_SECONDS:
                listing = _Listing(*_arrays(self._listed(tenant)), now, now)
                self._keep(tenant, listing)
            elif now - listing.refreshed_at >= _REFRESH_SECONDS:
                newest = min(listing.ids.tolist()).decode()  # NumPy has no minimum of strings
                until = new_media_id(id_time_seconds(newest) - _OVERLAP_SECONDS)
                newer = itertools.takewhile(lambda found: found[0] < until, self._listed(tenant))
                ids, hashes = _arrays(newer)
                older = listing.ids >= until.encode()
                listing = _Listing(listing.ids[older], listing.hashes[older], listing.listed_at, now)
                listing = _joined(listing, ids, hashes)
                self._keep(tenant, listing)
            return listing

    def _listed(self, tenant: str) -> Iterator[tuple[str, str]]:
        """Ids and hashes, newest first."""
        prefix = fingerprint_prefix(tenant)
        for info in self._store.list(prefix):
            media_id, _, perceptual_hash = info.key.removeprefix(prefix).rpartition("-")
            if is_media_id(media_id) and _HASH.fullmatch(perceptual_hash):
                yield media_id, perceptual_hash

    def _tenant_lock(self, tenant: str) -> threading.Lock:
        with self._lock:
            return self._tenant_locks[tenant]

    def _kept(self, tenant: str) -> _Listing | None:
        with self._lock:
            return self._listings.get(tenant)

    def _keep(self, tenant: str, listing: _Listing) -> None:
        with self._lock:
            self._listings[tenant] = listing


def _arrays(found: Iterable[tuple[str, str]]) -> tuple[NDArray[np.bytes_], NDArray[np.uint64]]:
    ids, hashes = bytearray(), array("Q")
    for media_id, perceptual_hash in found:
        ids += media_id.encode()
        hashes.append(int(perceptual_hash, 16))
    return np.frombuffer(bytes(ids), f"S{_ID_CHARACTERS}"), np.frombuffer(hashes.tobytes(), np.uint64)


def _joined(listing: _Listing, ids: NDArray[np.bytes_], hashes: NDArray[np.uint64]) -> _Listing:
    return _Listing(
        np.concatenate([ids, listing.ids]),
        np.concatenate([hashes, listing.hashes]),
        listing.listed_at,
        listing.refreshed_at,
    )


def _check(tenant: str, media_id: str) -> None:
    check_tenant(tenant)
    if not is_media_id(media_id):
        raise MediaNotFound("No media with this id was found. Upload it first, or check the id.")


def _check_hash(perceptual_hash: str) -> str:
    if not _HASH.fullmatch(perceptual_hash):
        raise ValueError("A perceptual hash is 16 lower-case hex digits.")
    return perceptual_hash
