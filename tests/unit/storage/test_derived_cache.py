"""Derived values: memory, Redis, store, computing, in that order; damage and outages never cost an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import numpy as np
import pytest
from valkey_server import ValkeyServer

from storage.artifacts import ArtifactStore
from storage.cache import ENTRY_BYTES, MemoryCache
from storage.derived import DerivedCache
from storage.errors import CorruptObject, StoreUnavailable
from storage.framing import seal, unseal
from storage.keys import blob_key
from storage.local import LocalObjectStore
from storage.redis import RedisCache
from storage.types import Modality

SHA = "ab" * 32
KEY = "cd" * 32


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path)
    add_source(store, "t", SHA)
    return store


@pytest.fixture
async def redis(valkey_server: ValkeyServer) -> AsyncIterator[RedisCache]:
    redis = RedisCache(valkey_server.url, timeout_seconds=2.0)
    yield redis
    await redis.aclose()


def add_source(store: LocalObjectStore, tenant: str, sha256: str) -> None:
    store.put(blob_key(tenant, sha256), b"")


def cache_over(
    store: LocalObjectStore, redis: RedisCache | None = None, max_bytes: int = 1 << 20
) -> DerivedCache:
    return DerivedCache(MemoryCache(max_bytes), ArtifactStore(store), redis)


class FakeEncoder:
    """Counts its runs."""

    def __init__(self, value: bytes = b"vector") -> None:
        self.runs = 0
        self._value = value

    def __call__(self) -> Awaitable[bytes]:
        return self._run()

    async def _run(self) -> bytes:
        self.runs += 1
        await asyncio.sleep(0)
        return self._value


async def test_the_tiers_without_redis(store: LocalObjectStore) -> None:
    encoder = FakeEncoder()
    cache = cache_over(store)
    assert await cache.get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "miss")
    assert await cache.get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "memory")
    restarted = cache_over(store)
    assert await restarted.get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "store")
    assert await restarted.get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "memory")
    assert encoder.runs == 1
    seen = restarted.statistics()
    assert (seen.memory_hits, seen.redis_hits, seen.store_hits, seen.misses) == (1, 0, 1, 0)
    assert (seen.store_failures, seen.memory.entries) == (0, 1)


async def test_every_tier_fills_those_above_it(store: LocalObjectStore, redis: RedisCache) -> None:
    encoder = FakeEncoder()

    async def look(cache: DerivedCache) -> str:
        value, tier = await cache.get_or_compute("t", SHA, KEY, "image", encoder)
        assert value == b"vector"
        return tier

    cache = cache_over(store, redis)
    assert [await look(cache), await look(cache)] == ["miss", "memory"]
    other = cache_over(store, redis)
    assert [await look(other), await look(other)] == ["redis", "memory"]
    await redis.delete_many([KEY])
    other = cache_over(store, redis)
    assert [await look(other), await look(cache_over(store, redis))] == ["store", "redis"]
    assert encoder.runs == 1
    assert other.statistics().store_hits == 1


@pytest.mark.parametrize(("modality", "seconds"), [("image", 60.0), ("video", 120.0), ("text", 30.0)])
async def test_every_modality_has_its_time_to_live(
    store: LocalObjectStore, modality: Modality, seconds: float
) -> None:
    now = 0.0
    memory = MemoryCache(1 << 20, lambda: now)
    ttl: dict[Modality, float] = {"image": 60.0, "video": 120.0, "audio": 90.0, "text": 30.0}
    cache = DerivedCache(memory, ArtifactStore(store), None, ttl)
    await cache.get_or_compute("t", SHA, KEY, modality, FakeEncoder())
    now = seconds - 1
    assert (await cache.get_or_compute("t", SHA, KEY, modality, FakeEncoder()))[1] == "memory"
    now = seconds
    assert (await cache.get_or_compute("t", SHA, KEY, modality, FakeEncoder()))[1] == "store"


async def test_identical_lookups_compute_once(store: LocalObjectStore) -> None:
    encoder = FakeEncoder()
    cache = cache_over(store)
    answers = await asyncio.gather(
        *(cache.get_or_compute("t", SHA, KEY, "image", encoder) for _ in range(30))
    )
    assert answers == [(b"vector", "miss")] * 30
    assert encoder.runs == 1
    assert cache.statistics().misses == 30


async def test_a_failed_computation_keeps_nothing(store: LocalObjectStore) -> None:
    async def fail() -> bytes:
        raise ValueError("cannot decode")

    cache = cache_over(store)
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot decode"):
            await cache.get_or_compute("t", SHA, KEY, "image", fail)
    assert list(store.list("derived/")) == []
    assert (await cache.get_or_compute("t", SHA, KEY, "image", FakeEncoder()))[1] == "miss"


async def test_values_larger_than_memory_are_served_from_the_store(store: LocalObjectStore) -> None:
    encoder = FakeEncoder(b"x" * 10_000)
    cache = cache_over(store, max_bytes=1000)
    assert (await cache.get_or_compute("t", SHA, KEY, "image", encoder))[1] == "miss"
    assert (await cache.get_or_compute("t", SHA, KEY, "image", encoder))[1] == "store"
    assert encoder.runs == 1


async def test_a_damaged_artifact_is_a_miss_and_is_replaced(store: LocalObjectStore) -> None:
    encoder = FakeEncoder()
    await cache_over(store).get_or_compute("t", SHA, KEY, "image", encoder)
    object_key = f"derived/t/{SHA}/{KEY}"
    framed = store.get(object_key)
    store.put(object_key, framed[:-1] + bytes([framed[-1] ^ 1]))
    assert await cache_over(store).get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "miss")
    assert encoder.runs == 2
    assert await cache_over(store).get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "store")


async def test_an_artifact_that_its_store_finds_damaged_is_a_miss_and_is_replaced(
    store: LocalObjectStore,
) -> None:
    encoder = FakeEncoder()
    await cache_over(store).get_or_compute("t", SHA, KEY, "image", encoder)

    class FakeCheckingStore(LocalObjectStore):
        def get(self, key: str) -> bytes:
            raise CorruptObject("The object's bytes do not match the store's checksum of them.")

    checking = FakeCheckingStore(store._root)
    assert await cache_over(checking).get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "miss")
    assert await cache_over(store).get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "store")
    assert encoder.runs == 2


class FakeBrokenArtifacts(ArtifactStore):
    """A store that is down for reading, writing or both."""

    def __init__(self, store: LocalObjectStore, broken: str) -> None:
        super().__init__(store)
        self._broken = broken

    def get(self, tenant: str, sha256: str, key: str) -> bytes | None:
        if "read" in self._broken:
            raise StoreUnavailable("down")
        return super().get(tenant, sha256, key)

    def put(self, tenant: str, sha256: str, key: str, value: bytes) -> bool:
        if "write" in self._broken:
            raise StoreUnavailable("down")
        return super().put(tenant, sha256, key, value)


@pytest.mark.parametrize(("broken", "failures"), [("read", 1), ("write", 1), ("read and write", 2)])
async def test_an_unavailable_store_costs_no_answer(
    store: LocalObjectStore, broken: str, failures: int
) -> None:
    encoder = FakeEncoder()
    cache = DerivedCache(MemoryCache(1 << 20), FakeBrokenArtifacts(store, broken))
    assert await cache.get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "miss")
    assert await cache.get_or_compute("t", SHA, KEY, "image", encoder) == (b"vector", "memory")
    assert cache.statistics().store_failures == failures


async def test_recomputing_replaces_the_value_everywhere(store: LocalObjectStore, redis: RedisCache) -> None:
    cache = cache_over(store, redis)
    await cache.get_or_compute("t", SHA, KEY, "image", FakeEncoder(b"of another time"))
    assert await cache.recompute("t", SHA, KEY, "image", FakeEncoder(b"new")) == b"new"
    assert await cache.get_or_compute("t", SHA, KEY, "image", FakeEncoder()) == (b"new", "memory")
    assert await redis.get(KEY) == ArtifactStore(store).get("t", SHA, KEY) == b"new"


def test_artifacts_die_with_their_source_only(store: LocalObjectStore) -> None:
    artifacts = ArtifactStore(store)
    for tenant, sha256 in (("t", SHA), ("t", "ef" * 32), ("u", SHA)):
        add_source(store, tenant, sha256)
        for key in (KEY, "ee" * 32):
            assert artifacts.put(tenant, sha256, key, b"value")
    assert sorted(artifacts.delete_all("t", SHA)) == [KEY, "ee" * 32]
    assert artifacts.get("t", SHA, KEY) is None
    assert artifacts.get("t", "ef" * 32, KEY) == artifacts.get("u", SHA, KEY) == b"value"
    assert len(list(store.list("derived/"))) == 4


async def test_a_source_deleted_while_computing_leaves_the_value_nowhere(
    store: LocalObjectStore, redis: RedisCache
) -> None:
    async def compute_slowly() -> bytes:
        store.delete(blob_key("t", SHA))
        return b"vector"

    cache = cache_over(store, redis)
    assert await cache.get_or_compute("t", SHA, KEY, "image", compute_slowly) == (b"vector", "miss")
    assert list(store.list("")) == []
    assert await redis.get(KEY) is None
    assert cache.statistics().memory.entries == 0


async def test_forgetting(store: LocalObjectStore, redis: RedisCache) -> None:
    cache = cache_over(store, redis)
    for key in (KEY, "ee" * 32):
        await cache.get_or_compute("t", SHA, key, "image", FakeEncoder())
    await cache.forget(ArtifactStore(store).delete_all("t", SHA))
    assert cache.statistics().memory.entries == 0
    assert await redis.get_many([KEY, "ee" * 32]) == [None, None]
    await cache.forget([])
    assert (await cache.get_or_compute("t", SHA, KEY, "image", FakeEncoder()))[1] == "miss"


@pytest.mark.parametrize("anew", [False, True])
async def test_what_is_forgotten_while_it_is_computed_is_not_kept(
    store: LocalObjectStore, redis: RedisCache, anew: bool
) -> None:
    cache = cache_over(store, redis)

    async def compute() -> bytes:
        await cache.forget([KEY])
        return b"vector"

    ask = cache.recompute if anew else cache.get_or_compute
    for work in (compute, FakeEncoder()):
        await ask("t", SHA, KEY, "image", work)
        if work is compute:
            assert cache.statistics().memory.entries == 0
            assert await redis.get(KEY) is None
            store.delete(f"derived/t/{SHA}/{KEY}")
    assert cache.statistics().memory.entries == 1  # only that once


def stored(store: LocalObjectStore, tenant: str, sources: int, artifacts: int, size: int) -> list[str]:
    """Sources with artifacts in the store; their content hashes."""
    hashes = [f"{number:064x}" for number in range(sources)]
    for sha256 in hashes:
        add_source(store, tenant, sha256)
        for number in range(artifacts):
            ArtifactStore(store).put(tenant, sha256, f"{sha256[-8:]}{number:056x}", bytes(size))
    return hashes


async def test_warming_up(store: LocalObjectStore, redis: RedisCache) -> None:
    hashes = stored(store, "u", sources=20, artifacts=3, size=100)
    keys = [f"{sha256[-8:]}{number:056x}" for sha256 in hashes for number in range(3)]
    damaged = f"derived/u/{hashes[0]}/{keys[0]}"
    store.put(damaged, store.get(damaged)[:-1] + b"!")
    cache = cache_over(store, redis)
    report = await cache.warm_up([("u", sha256, "video") for sha256 in [*hashes, "ff" * 32]])
    assert (report.loaded, report.loaded_bytes, report.complete) == (59, 5900, True)
    assert (await redis.get_many(keys)).count(bytes(100)) == 59
    assert (await cache.get_or_compute("u", hashes[0], keys[1], "video", FakeEncoder()))[1] == "memory"
    again = await cache.warm_up([("u", sha256, "video") for sha256 in hashes])
    assert (again.loaded, again.complete) == (0, True)
    assert await cache.warm_up([]) == again


async def test_warming_up_stops_when_memory_is_full(store: LocalObjectStore) -> None:
    hashes = stored(store, "u", sources=20, artifacts=3, size=1000)
    room = 10 * (1000 + ENTRY_BYTES)
    cache = cache_over(store, max_bytes=room)
    report = await cache.warm_up([("u", sha256, "image") for sha256 in hashes])
    assert (report.loaded, report.complete) == (10, False)
    assert cache.statistics().memory.entries == 10
    assert cache.statistics().memory.evictions == 0


async def test_warming_up_stops_when_the_store_fails(store: LocalObjectStore) -> None:
    hashes = stored(store, "u", sources=20, artifacts=1, size=10)
    cache = DerivedCache(MemoryCache(1 << 20), FakeBrokenArtifacts(store, "read"))
    report = await cache.warm_up([("u", sha256, "image") for sha256 in hashes])
    assert (report.loaded, report.complete) == (0, False)
    assert 1 <= cache.statistics().store_failures <= 8


def test_every_flipped_bit_and_cut_is_noticed() -> None:
    value = np.random.default_rng(3).bytes(50)
    framed = seal("key", value)
    assert unseal("key", framed) == value
    for bit in range(len(framed) * 8):
        damaged = bytearray(framed)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert unseal("key", bytes(damaged)) is None
    for length in range(len(framed)):
        assert unseal("key", framed[:length]) is None
    assert unseal("key", framed + b"\0") is None
    assert unseal("other", framed) is None
    assert unseal("key", seal("key", b"")) == b""


def test_a_thousand_flipped_bits_in_frames_of_all_sizes_are_noticed() -> None:
    dice = np.random.default_rng(5)
    for _ in range(1000):
        framed = bytearray(seal("key", dice.bytes(int(dice.integers(1, 5000)))))
        bit = int(dice.integers(8 * len(framed)))
        framed[bit // 8] ^= 1 << (bit % 8)
        assert unseal("key", bytes(framed)) is None


def test_a_value_under_another_key_is_corrupt_even_if_the_text_lines_up() -> None:
    assert unseal("ke", seal("key", b"value")) is None
    header = seal("ab", b"c")[:-1]
    assert unseal("a", header + b"bc") is None
