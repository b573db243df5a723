"""Embeddings of texts, many at a time. A text is no stored source, so there is no durable tier below."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from storage.cache import CacheTier, MemoryCache
from storage.redis import RedisCache
from storage.types import Modality
from storage.vectors import StoredVector, pack_vector, unpack_vector

__all__ = ["ComputeMissing", "VectorCache", "VectorStatistics"]

ComputeMissing: TypeAlias = Callable[[Sequence[int]], Awaitable[Sequence[StoredVector]]]
"""Given positions in the keys asked for, in rising order and each key once, the vectors that belong there."""

_Found: TypeAlias = tuple[StoredVector, CacheTier]


@dataclass(frozen=True, slots=True)
class VectorStatistics:
    """Look-ups by the tier that answered; waiters on shared work and repetitions within a batch count under
    its tier.
    """

    memory_hits: int
    redis_hits: int
    misses: int


@dataclass(slots=True)
class _Batch:
    """Keys that are being looked up together: where they stand in their call, and the answers to come."""

    positions: dict[str, int] = field(default_factory=dict)
    answers: dict[str, asyncio.Future[_Found]] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    waiting: int = 0


class VectorCache:
    """``MemoryCache`` before ``RedisCache`` before the encoder, for many keys in one call.

    A key is computed once however many batches ask for it at a time. The work of a batch runs in a task of
    its own and is cancelled only when nobody waits for any of its keys. Damaged entries are misses. Use from
    one event loop at a time.
    """

    def __init__(
        self, memory: MemoryCache, redis: RedisCache | None, ttl_seconds: Mapping[Modality, float]
    ) -> None:
        self._memory = memory
        self._redis = redis
        self._ttl_seconds = ttl_seconds
        self._batches: dict[str, _Batch] = {}  # by each key that is being looked up
        self._lookups: dict[CacheTier, int] = {"memory": 0, "redis": 0, "miss": 0}

    async def get_or_compute(
        self, keys: Sequence[str], modality: Modality, compute_missing: ComputeMissing
    ) -> tuple[list[StoredVector], list[CacheTier]]:
        """The vectors under ``keys`` (``storage.keys.artifact_key``) and the tier of each, in their order.

        What no tier has and nobody else is computing is asked of ``compute_missing`` at once. What that raises
        reaches everyone who waits for one of those keys, and nothing is kept. Raises ``ValueError`` when it
        gives another number of vectors than asked for.
        """
        found: dict[str, _Found] = {}
        pending: dict[str, _Batch] = {}
        mine = _Batch()
        for position, key in enumerate(keys):
            if key in found or key in pending:
                continue
            if (vector := self._in_memory(key)) is not None:
                found[key] = vector, "memory"
                continue
            if key not in self._batches:
                self._batches[key] = mine
                mine.positions[key] = position
                mine.answers[key] = asyncio.get_running_loop().create_future()
            pending[key] = self._batches[key]
        if mine.answers:
            work = self._look_up(mine, modality, compute_missing)
            mine.task = asyncio.create_task(work, name="vectors")
            mine.task.add_done_callback(lambda _: self._forget(mine))
        found.update(await self._wait(pending))
        tiers = [found[key][1] for key in keys]
        for tier in tiers:
            self._lookups[tier] += 1
        return [found[key][0] for key in keys], tiers

    def statistics(self) -> VectorStatistics:
        """Counts since the start."""
        return VectorStatistics(self._lookups["memory"], self._lookups["redis"], self._lookups["miss"])

    def _in_memory(self, key: str) -> StoredVector | None:
        packed = self._memory.get(key)
        return None if packed is None else unpack_vector(packed)

    async def _wait(self, pending: Mapping[str, _Batch]) -> dict[str, _Found]:
        batches = {id(batch): batch for batch in pending.values()}.values()
        answers = {key: batch.answers[key] for key, batch in pending.items()}
        for batch in batches:
            batch.waiting += 1
        try:
            return {key: await asyncio.shield(answer) for key, answer in answers.items()}
        finally:
            for batch in batches:
                batch.waiting -= 1
                if batch.waiting == 0 and batch.task is not None and not batch.task.done():
                    self._forget(batch)  # a newcomer must not join work that is being cancelled
                    batch.task.cancel()

    async def _look_up(self, batch: _Batch, modality: Modality, compute_missing: ComputeMissing) -> None:
        """Give every answer of ``batch``."""
        try:
            missing = await self._look_up_in_redis(batch, modality)
            if not missing:
                return
            vectors = await compute_missing(list(missing.values()))
            computed = dict(zip(missing, vectors, strict=True))
            packed = {key: pack_vector(vector) for key, vector in computed.items()}
            await self._keep(packed, modality)
            for key, vector in computed.items():
                batch.answers[key].set_result((vector, "miss"))
        except BaseException as error:
            for answer in batch.answers.values():
                if not answer.done():
                    _fail(answer, error)
            if not isinstance(error, Exception):
                raise

    async def _look_up_in_redis(self, batch: _Batch, modality: Modality) -> dict[str, int]:
        """Answer what Redis has; the other keys and their positions."""
        missing = dict(batch.positions)
        if self._redis is None:
            return missing
        ttl_seconds = self._ttl_seconds[modality]
        keys = list(missing)
        for key, packed in zip(keys, await self._redis.get_many(keys), strict=True):
            vector = None if packed is None else unpack_vector(packed)
            if packed is not None and vector is not None:
                self._memory.put(key, packed, ttl_seconds)
                batch.answers[key].set_result((vector, "redis"))
                del missing[key]
        return missing

    async def _keep(self, packed: Mapping[str, bytes], modality: Modality) -> None:
        ttl_seconds = self._ttl_seconds[modality]
        for key, value in packed.items():
            self._memory.put(key, value, ttl_seconds)
        if self._redis is not None:
            await self._redis.put_many(packed, ttl_seconds)

    def _forget(self, batch: _Batch) -> None:
        for key in batch.answers:
            if self._batches.get(key) is batch:
                del self._batches[key]


def _fail(answer: asyncio.Future[_Found], error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        answer.cancel()
    else:
        answer.set_exception(error)
        answer.exception()  # seen: whoever waited may be gone
