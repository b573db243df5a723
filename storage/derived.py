"""Derived values through all tiers: memory, Redis, the durable artifact, then computing them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from storage.artifacts import ArtifactStore
from storage.cache import ENTRY_BYTES, CacheStatistics, CacheTier, MemoryCache
from storage.config import default_ttl_seconds
from storage.errors import StoreUnavailable
from storage.redis import RedisCache
from storage.single_flight import SingleFlight
from storage.types import Modality

__all__ = ["DerivedCache", "DerivedStatistics", "WarmUpReport"]

_LOG = logging.getLogger(__name__)

_TTL_SECONDS = default_ttl_seconds()
_WARM_UP_TASKS = 8

Source: TypeAlias = tuple[str, str, Modality]
"""Tenant, content hash and modality of a medium."""


@dataclass(frozen=True, slots=True)
class DerivedStatistics:
    """Look-ups by the tier that answered (waiters on shared work count under its tier), how often the object
    store failed, and the memory tier, which ``VectorCache`` may share.
    """

    memory_hits: int
    redis_hits: int
    store_hits: int
    misses: int
    store_failures: int
    memory: CacheStatistics


@dataclass(frozen=True, slots=True)
class WarmUpReport:
    """What a warm-up brought: artifacts now in the caches and their bytes.

    ``complete`` is false when memory was full or the store failed before everything was loaded.
    """

    loaded: int
    loaded_bytes: int
    complete: bool


class DerivedCache:
    """``MemoryCache`` before ``RedisCache`` before ``ArtifactStore`` before the encoder.

    Identical concurrent look-ups share one computation. A tier in trouble never fails an answer: when the
    object store fails, the value is computed and answered all the same, and the failure is logged and counted.
    What is found in a lower tier is kept in those above it, for ``ttl_seconds`` of its modality. Use from one
    event loop at a time.
    """

    def __init__(
        self,
        memory: MemoryCache,
        artifacts: ArtifactStore,
        redis: RedisCache | None = None,
        ttl_seconds: Mapping[Modality, float] = _TTL_SECONDS,
    ) -> None:
        self._memory = memory
        self._artifacts = artifacts
        self._redis = redis
        self._ttl_seconds = ttl_seconds
        self._flights: SingleFlight[tuple[bytes, CacheTier]] = SingleFlight()
        self._forgotten: set[str] = set()  # flights whose key was forgotten since they began
        self._lookups: dict[CacheTier, int] = {"memory": 0, "redis": 0, "store": 0, "miss": 0}
        self._store_failures = 0

    async def get_or_compute(
        self,
        tenant: str,
        sha256: str,
        key: str,
        modality: Modality,
        compute: Callable[[], Awaitable[bytes]],
    ) -> tuple[bytes, CacheTier]:
        """The value under ``key`` (``storage.keys.artifact_key``) derived from source ``sha256``, and its
        tier.

        ``compute`` is awaited when no tier has it. What it returns is kept durably before anyone gets it, and
        nowhere if the source is gone by then; what it raises reaches every waiter and nothing is kept.
        """
        value = self._memory.get(key)
        if value is not None:
            self._lookups["memory"] += 1
            return value, "memory"
        wanted = _Wanted(tenant, sha256, key, modality, compute)
        value, tier = await self._flights.run(key, lambda: self._flown(key, wanted, self._load))
        self._lookups[tier] += 1
        return value, tier

    async def recompute(
        self,
        tenant: str,
        sha256: str,
        key: str,
        modality: Modality,
        compute: Callable[[], Awaitable[bytes]],
    ) -> bytes:
        """Compute the value under ``key`` anew, in place of a kept one that its reader cannot use."""
        wanted = _Wanted(tenant, sha256, key, modality, compute)
        flight = _anew(key)
        value, tier = await self._flights.run(flight, lambda: self._flown(flight, wanted, self._compute))
        self._lookups[tier] += 1
        return value

    async def find(self, wanted: Sequence[tuple[str, str, str]]) -> list[bytes | None]:
        """Kept values of (tenant, content hash, key) each, from memory or the store; for many at once, where one
        thread reads them all. What is found stays where it is.
        """
        found = [self._memory.get(key) for _, _, key in wanted]
        missing = [index for index, value in enumerate(found) if value is None]

        def read() -> list[bytes | None]:
            return [self._artifacts.get(*wanted[index]) for index in missing]

        try:
            values = await asyncio.to_thread(read) if missing else []
        except StoreUnavailable:
            self._failed("read")
            return found
        for index, value in zip(missing, values, strict=True):
            found[index] = value
        return found

    async def keep(self, values: Mapping[tuple[str, str, str], bytes]) -> None:
        """Keep values of (tenant, content hash, key) in the store, none whose source is gone; for many at once."""

        def write() -> None:
            for (tenant, sha256, key), value in values.items():
                self._artifacts.put(tenant, sha256, key, value)

        try:
            await asyncio.to_thread(write)
        except StoreUnavailable:
            self._failed("written")

    async def forget(self, keys: Sequence[str]) -> None:
        """Drop values whose source was deleted from memory and from Redis; the store has dropped them before.

        Other gateways' memories, and a Redis that is down, keep them until their time to live ends. Nobody
        can ask for them meanwhile: a look-up begins with a medium's id.
        """
        flights = (flight for key in keys for flight in (key, _anew(key)))
        self._forgotten.update(flight for flight in flights if flight in self._flights)
        await self._drop(keys)

    def forget_under(self, prefix: str) -> int:
        """Drop all of memory's values whose keys begin with ``prefix`` (``storage.keys.tenant_tag``), those of
        ``VectorCache`` too where it shares the memory; how many there were. What is being computed is not kept.
        """
        self._forgotten.update(flight for flight in self._flights if flight.startswith(prefix))
        return self._memory.delete_under(prefix)

    async def warm_up(self, sources: Iterable[Source]) -> WarmUpReport:
        """Load what was derived from ``sources`` from the store into memory and Redis; compute nothing.

        Stops when as much is loaded as memory holds, and when the store fails.
        """
        loading = _WarmUp(iter(sources), self._memory.max_bytes)
        async with asyncio.TaskGroup() as group:
            for _ in range(_WARM_UP_TASKS):
                group.create_task(self._warm_up(loading))
        return WarmUpReport(loading.loaded, loading.loaded_bytes, loading.complete)

    def statistics(self) -> DerivedStatistics:
        """Counts since the start."""
        return DerivedStatistics(
            memory_hits=self._lookups["memory"],
            redis_hits=self._lookups["redis"],
            store_hits=self._lookups["store"],
            misses=self._lookups["miss"],
            store_failures=self._store_failures,
            memory=self._memory.statistics(),
        )

    async def _flown(
        self,
        flight: str,
        wanted: _Wanted,
        work: Callable[[_Wanted], Awaitable[tuple[bytes, CacheTier]]],
    ) -> tuple[bytes, CacheTier]:
        """``work``; what it has kept is dropped again when its key was forgotten meanwhile."""
        try:
            return await work(wanted)
        finally:
            if flight in self._forgotten:
                self._forgotten.remove(flight)
                await self._drop([wanted.key])

    async def _load(self, wanted: _Wanted) -> tuple[bytes, CacheTier]:
        value = None if self._redis is None else await self._redis.get(wanted.key)
        if value is not None:
            self._memory.put(wanted.key, value, self._ttl_seconds[wanted.modality])
            return value, "redis"
        try:
            value = await asyncio.to_thread(self._artifacts.get, wanted.tenant, wanted.sha256, wanted.key)
        except StoreUnavailable:
            self._failed("read")
        if value is not None:
            await self._keep(wanted.modality, {wanted.key: value})
            return value, "store"
        return await self._compute(wanted)

    async def _compute(self, wanted: _Wanted) -> tuple[bytes, CacheTier]:
        value = await wanted.compute()
        try:
            has_source = await asyncio.to_thread(
                self._artifacts.put, wanted.tenant, wanted.sha256, wanted.key, value
            )
        except StoreUnavailable:
            self._failed("written")
            has_source = True
        if has_source:
            await self._keep(wanted.modality, {wanted.key: value})
        return value, "miss"

    async def _keep(self, modality: Modality, values: Mapping[str, bytes]) -> None:
        """Put values into memory and Redis."""
        ttl_seconds = self._ttl_seconds[modality]
        for key, value in values.items():
            self._memory.put(key, value, ttl_seconds)
        if self._redis is not None:
            await self._redis.put_many(values, ttl_seconds)

    async def _drop(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._memory.delete(key)
        if self._redis is not None:
            await self._redis.delete_many(keys)

    async def _warm_up(self, loading: _WarmUp) -> None:
        for tenant, sha256, modality in loading.sources:
            try:
                stored = await asyncio.to_thread(self._stored, tenant, sha256)
            except StoreUnavailable:
                self._failed("read")
                loading.complete = False
                return
            await self._keep(modality, loading.admit(stored))
            if not loading.complete:
                return

    def _stored(self, tenant: str, sha256: str) -> dict[str, bytes]:
        """What the store has of one source and memory has not. Blocks."""
        keys = [key for key in self._artifacts.keys(tenant, sha256) if key not in self._memory]
        found = ((key, self._artifacts.get(tenant, sha256, key)) for key in keys)
        return {key: value for key, value in found if value is not None}

    def _failed(self, what: str) -> None:
        self._store_failures += 1
        _LOG.warning("A derived artifact could not be %s; the answer goes on without it.", what)


@dataclass(frozen=True, slots=True)
class _Wanted:
    tenant: str
    sha256: str
    key: str
    modality: Modality
    compute: Callable[[], Awaitable[bytes]]


@dataclass(slots=True)
class _WarmUp:
    """A warm-up under way: the sources and the room that are left, and what was loaded."""

    sources: Iterator[Source]
    room_bytes: int
    loaded: int = 0
    loaded_bytes: int = 0
    complete: bool = True

    def admit(self, values: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those of ``values`` for which there is room."""
        admitted: dict[str, bytes] = {}
        for key, value in values.items():
            if len(value) + ENTRY_BYTES > self.room_bytes:
                self.complete = False
                break
            self.room_bytes -= len(value) + ENTRY_BYTES
            self.loaded += 1
            self.loaded_bytes += len(value)
            admitted[key] = value
        return admitted


def _anew(key: str) -> str:
    return f"{key} anew"
