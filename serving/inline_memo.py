"""Which stored medium holds these bytes: a small memory of what came in lately."""

from __future__ import annotations

import threading

from cachetools import TTLCache

__all__ = ["InlineMemo"]

_MAX_ENTRIES = 8192
_TTL_SECONDS = 3600.0


class InlineMemo:
    """From a tenant and a content hash to a medium's id. Thread-safe; a hint, to be held against the record."""

    def __init__(self) -> None:
        self._ids: TTLCache[tuple[str, str], str] = TTLCache(_MAX_ENTRIES, _TTL_SECONDS)
        self._lock = threading.Lock()

    def get(self, tenant: str, sha256: str) -> str | None:
        """The id that was remembered last."""
        with self._lock:
            return self._ids.get((tenant, sha256))

    def put(self, tenant: str, sha256: str, media_id: str) -> None:
        """Remember an id."""
        with self._lock:
            self._ids[tenant, sha256] = media_id

    def forget_tenant(self, tenant: str) -> None:
        """Remember nothing of a tenant's any more."""
        with self._lock:
            for key in [key for key in self._ids if key[0] == tenant]:
                self._ids.pop(key, None)

    def forget(self, tenant: str, sha256: str) -> None:
        """Remember no id of these bytes any more."""
        with self._lock:
            self._ids.pop((tenant, sha256), None)
