"""Redis killed, paused and restarted under load: every caller is answered, few have waited for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from valkey_server import ValkeyServer

from storage.artifacts import ArtifactStore
from storage.cache import MemoryCache
from storage.config import default_ttl_seconds
from storage.derived import DerivedCache
from storage.keys import blob_key
from storage.local import LocalObjectStore
from storage.redis import RedisCache
from storage.vector_cache import VectorCache
from storage.vectors import StoredVector

SHA = "ab" * 32
CALLERS = 64
TTL = default_ttl_seconds()


class Load:
    """Callers that ask without end, of a cache with no room in memory, so that each asks Redis."""

    def __init__(self, redis: RedisCache, store: LocalObjectStore) -> None:
        memory = MemoryCache(0)
        self.redis = redis
        self._derived = DerivedCache(memory, ArtifactStore(store), redis)
        self._vectors = VectorCache(memory, redis, TTL)
        self._answers = [0] * CALLERS
        self._tasks = [asyncio.create_task(self._call(number)) for number in range(CALLERS)]

    async def _call(self, number: int) -> None:
        while True:
            key = f"{number % 40:064x}"  # some ask for the same
            if number % 4:
                value, _ = await self._derived.get_or_compute("t", SHA, key, "image", self._compute)
                assert value == b"value"
            else:
                found, _ = await self._vectors.get_or_compute([f"text {key}"], "text", self._compute_missing)
                assert found[0].vector.tolist() == [1.0, 2.0]
            self._answers[number] += 1

    @staticmethod
    async def _compute() -> bytes:
        return b"value"

    @staticmethod
    async def _compute_missing(missing: list[int]) -> list[StoredVector]:
        return [StoredVector(np.array([1, 2], np.float32), 1) for _ in missing]

    async def all_answered(self, times: int = 3) -> None:
        """Until every caller has had so many more answers; raises what any caller raised."""
        wanted = [answers + times for answers in self._answers]
        await self.until(lambda: all(a >= w for a, w in zip(self._answers, wanted, strict=True)))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError)
        await self.redis.aclose()


@asynccontextmanager
async def load_on(server: ValkeyServer, folder: Path, retry_seconds: float) -> AsyncIterator[Load]:
    store = LocalObjectStore(folder)
    store.put(blob_key("t", SHA), b"")
    load = Load(RedisCache(server.url, timeout_seconds=0.5, retry_seconds=retry_seconds), store)
    await load.all_answered()
    yield load
    await load.all_answered()
    await load.stop()


async def test_killed(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    async with load_on(valkey_server, tmp_path, retry_seconds=0.3) as load:
        valkey_server.kill()
        await load.until(lambda: load.redis.statistics().state == "open")
        before = load.redis.statistics()
        await load.all_answered()
        assert load.redis.statistics().timeouts == before.timeouts  # a closed port is known at once
        assert load.redis.statistics().skipped > before.skipped
        valkey_server.start()
        await load.until(lambda: load.redis.statistics().hits > before.hits + 100)


async def test_paused(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    async with load_on(valkey_server, tmp_path, retry_seconds=3600) as load:
        before = load.redis.statistics()
        valkey_server.pause()
        await load.until(lambda: load.redis.statistics().state == "open")
        await load.all_answered(4)
        after = load.redis.statistics()
        # Who was waiting when it stopped has waited once, and the first two to give up could try once more.
        assert 3 <= after.timeouts - before.timeouts <= CALLERS + 2
        assert after.errors - before.errors == after.timeouts - before.timeouts
        assert after.skipped - before.skipped > CALLERS


async def test_paused_and_resumed(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    async with load_on(valkey_server, tmp_path, retry_seconds=0.3) as load:
        valkey_server.pause()
        await load.until(lambda: load.redis.statistics().state == "open")
        await load.all_answered()
        hits = load.redis.statistics().hits
        valkey_server.resume()
        await load.until(lambda: load.redis.statistics().hits > hits + 100)
        assert load.redis.statistics().state == "closed"


async def test_restarted_again_and_again(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    async with load_on(valkey_server, tmp_path, retry_seconds=0.3) as load:
        for _ in range(5):
            await asyncio.to_thread(valkey_server.restart)
            wanted = load.redis.statistics().hits + 100
            await load.until(lambda wanted=wanted: load.redis.statistics().hits > wanted)
