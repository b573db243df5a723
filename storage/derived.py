"""Derived values through all tiers: memory, then the durable artifact, then computing them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from storage.artifacts import ArtifactStore
from storage.cache import CacheStatistics, MemoryCache
from storage.errors import StoreUnavailable
from storage.single_flight import SingleFlight

__all__ = ["DerivedCache", "DerivedStatistics", "Tier"]

_LOG = logging.getLogger(__name__)

Tier: TypeAlias = Literal["memory", "store", "miss"]
"""Where a value came from; ``miss`` means that it was computed."""


@dataclass(frozen=True, slots=True)
class DerivedStatistics:
    """Lookups by tier (waiters on shared work count under its tier), store failures survived, and the
    memory tier.
    """

    memory_hits: int
    store_hits: int
    misses: int
    store_failures: int
    memory: CacheStatistics


class DerivedCache:
    """``MemoryCache`` before ``ArtifactStore`` before the encoder. Use from one event loop.

    Identical concurrent lookups share one computation. When the object store fails the value is computed and
    answered all the same, and the failure is logged and counted: a cache in trouble must not fail an answer.
    """

    def __init__(self, memory: MemoryCache, artifacts: ArtifactStore) -> None:
        self._memory = memory
        self._artifacts = artifacts
        self._flights: SingleFlight[tuple[bytes, Tier]] = SingleFlight()
        self._lookups: dict[Tier, int] = {"memory": 0, "store": 0, "miss": 0}
        self._store_failures = 0

    async def get_or_compute(
        self, tenant: str, sha256: str, key: str, compute: Callable[[], Awaitable[bytes]]
    ) -> tuple[bytes, Tier]:
        """The value under ``key`` (``storage.keys.artifact_key``) derived from source ``sha256``, and its
        tier.

        ``compute`` is awaited when no tier has it; what it returns is kept durably before anyone gets it,
        what it raises reaches every waiter and nothing is kept.
        """
        value = self._memory.get(key)
        if value is not None:
            self._lookups["memory"] += 1
            return value, "memory"
        value, tier = await self._flights.run(key, lambda: self._load(tenant, sha256, key, compute))
        self._lookups[tier] += 1
        return value, tier

    async def recompute(
        self, tenant: str, sha256: str, key: str, compute: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """Compute the value under ``key`` anew, in place of a kept one that its reader cannot use."""
        value, tier = await self._flights.run(
            f"{key} anew", lambda: self._compute(tenant, sha256, key, compute)
        )
        self._lookups[tier] += 1
        return value

    def statistics(self) -> DerivedStatistics:
        """Counts since the start."""
        return DerivedStatistics(
            memory_hits=self._lookups["memory"],
            store_hits=self._lookups["store"],
            misses=self._lookups["miss"],
            store_failures=self._store_failures,
            memory=self._memory.statistics(),
        )

    async def _load(
        self, tenant: str, sha256: str, key: str, compute: Callable[[], Awaitable[bytes]]
    ) -> tuple[bytes, Tier]:
        try:
            kept = await asyncio.to_thread(self._artifacts.get, tenant, sha256, key)
        except StoreUnavailable:
            self._failed("read")
            kept = None
        if kept is not None:
            self._memory.put(key, kept)
            return kept, "store"
        return await self._compute(tenant, sha256, key, compute)

    async def _compute(
        self, tenant: str, sha256: str, key: str, compute: Callable[[], Awaitable[bytes]]
    ) -> tuple[bytes, Tier]:
        value = await compute()
        try:
            await asyncio.to_thread(self._artifacts.put, tenant, sha256, key, value)
        except StoreUnavailable:
            self._failed("written")
        self._memory.put(key, value)
        return value, "miss"

    def _failed(self, what: str) -> None:
        self._store_failures += 1
        _LOG.warning("A derived artifact could not be %s; the answer goes on without it.", what)
