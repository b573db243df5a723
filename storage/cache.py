"""The in-process cache: least recently used values, bounded by their bytes."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cachetools import LRUCache

__all__ = ["ENTRY_BYTES", "CacheStatistics", "MemoryCache"]

ENTRY_BYTES = 256
"""Counted per entry beside its value: a 64-character key and Python's own objects."""


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since the start, and what is held now. Rejected: values larger than the whole cache."""

    hits: int
    misses: int
    evictions: int
    rejected: int
    entries: int
    size_bytes: int
    max_bytes: int


class _CountingCache(LRUCache[str, bytes]):
    evictions = 0

    def popitem(self) -> tuple[str, bytes]:
        self.evictions += 1
        return super().popitem()


class MemoryCache:
    """Bytes by key, least recently used first out. Thread-safe.

    ``max_bytes`` bounds the values plus ``ENTRY_BYTES`` each, so that many tiny values are bounded too.
    """

    def __init__(self, max_bytes: int) -> None:
        self._entries = _CountingCache(maxsize=max_bytes, getsizeof=lambda value: len(value) + ENTRY_BYTES)
        self._lock = threading.Lock()
        self._hits = 0
        self._misses = 0
        self._rejected = 0

    def get(self, key: str) -> bytes | None:
        """The value under ``key``, which becomes the most recently used, or ``None``."""
        with self._lock:
            value = self._entries.get(key)
            if value is None:
                self._misses += 1
            else:
                self._hits += 1
            return value

    def put(self, key: str, value: bytes) -> bool:
        """Keep ``value``, evicting others as needed. ``False`` if it is larger than the cache; it is not
        kept then.
        """
        with self._lock:
            try:
                self._entries[key] = value
            except ValueError:
                self._entries.pop(key, None)  # what was there is out of date
                self._rejected += 1
                return False
            return True

    def statistics(self) -> CacheStatistics:
        """A consistent snapshot of the counters."""
        with self._lock:
            return CacheStatistics(
                hits=self._hits,
                misses=self._misses,
                evictions=self._entries.evictions,
                rejected=self._rejected,
                entries=len(self._entries),
                size_bytes=int(self._entries.currsize),
                max_bytes=int(self._entries.maxsize),
            )
