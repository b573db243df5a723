"""Derived values: memory, store, computing, in that order; damage and outages cost time, never an answer."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable
from pathlib import Path

import numpy as np
import pytest

from storage.artifacts import ArtifactStore
from storage.cache import MemoryCache
from storage.derived import DerivedCache
from storage.errors import StoreUnavailable
from storage.framing import seal, unseal
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.types import MediaRef

SHA = "ab" * 32
KEY = "cd" * 32


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path)
    add_source(store, "t", SHA)
    return store


def add_source(store: LocalObjectStore, tenant: str, sha256: str) -> None:
    store.put(MediaRef("", tenant, sha256, 0, "").blob_key, b"")


def cache_over(store: LocalObjectStore, max_bytes: int = 1 << 20) -> DerivedCache:
    return DerivedCache(MemoryCache(max_bytes), ArtifactStore(store))


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


async def test_the_three_tiers(store: LocalObjectStore) -> None:
    encoder = FakeEncoder()
    cache = cache_over(store)
    assert await cache.get_or_compute("t", SHA, KEY, encoder) == (b"vector", "miss")
    assert await cache.get_or_compute("t", SHA, KEY, encoder) == (b"vector", "memory")
    restarted = cache_over(store)
    assert await restarted.get_or_compute("t", SHA, KEY, encoder) == (b"vector", "store")
    assert await restarted.get_or_compute("t", SHA, KEY, encoder) == (b"vector", "memory")
    assert encoder.runs == 1
    seen = restarted.statistics()
    assert (seen.memory_hits, seen.store_hits, seen.misses, seen.store_failures) == (1, 1, 0, 0)
    assert seen.memory.entries == 1


async def test_identical_lookups_compute_once(store: LocalObjectStore) -> None:
    encoder = FakeEncoder()
    cache = cache_over(store)
    answers = await asyncio.gather(*(cache.get_or_compute("t", SHA, KEY, encoder) for _ in range(30)))
    assert answers == [(b"vector", "miss")] * 30
    assert encoder.runs == 1
    assert cache.statistics().misses == 30


async def test_a_failed_computation_keeps_nothing(store: LocalObjectStore) -> None:
    async def fail() -> bytes:
        raise ValueError("cannot decode")

    cache = cache_over(store)
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot decode"):
            await cache.get_or_compute("t", SHA, KEY, fail)
    assert list(store.list("derived/")) == []
    assert (await cache.get_or_compute("t", SHA, KEY, FakeEncoder()))[1] == "miss"


async def test_values_larger_than_memory_are_served_from_the_store(store: LocalObjectStore) -> None:
    encoder = FakeEncoder(b"x" * 10_000)
    cache = cache_over(store, max_bytes=1000)
    assert (await cache.get_or_compute("t", SHA, KEY, encoder))[1] == "miss"
    assert (await cache.get_or_compute("t", SHA, KEY, encoder))[1] == "store"
    assert encoder.runs == 1


async def test_a_damaged_artifact_is_a_miss_and_is_replaced(store: LocalObjectStore) -> None:
    encoder = FakeEncoder()
    await cache_over(store).get_or_compute("t", SHA, KEY, encoder)
    object_key = f"derived/t/{SHA}/{KEY}"
    framed = store.get(object_key)
    store.put(object_key, framed[:-1] + bytes([framed[-1] ^ 1]))
    assert await cache_over(store).get_or_compute("t", SHA, KEY, encoder) == (b"vector", "miss")
    assert encoder.runs == 2
    assert await cache_over(store).get_or_compute("t", SHA, KEY, encoder) == (b"vector", "store")


class FakeBrokenArtifacts(ArtifactStore):
    """A store that is down for reading, writing or both."""

    def __init__(self, store: LocalObjectStore, broken: str) -> None:
        super().__init__(store)
        self._broken = broken

    def get(self, tenant: str, sha256: str, key: str) -> bytes | None:
        if "read" in self._broken:
            raise StoreUnavailable("down")
        return super().get(tenant, sha256, key)

    def put(self, tenant: str, sha256: str, key: str, value: bytes) -> None:
        if "write" in self._broken:
            raise StoreUnavailable("down")
        super().put(tenant, sha256, key, value)


@pytest.mark.parametrize(("broken", "failures"), [("read", 1), ("write", 1), ("read and write", 2)])
async def test_an_unavailable_store_costs_no_answer(
    store: LocalObjectStore, broken: str, failures: int
) -> None:
    encoder = FakeEncoder()
    cache = DerivedCache(MemoryCache(1 << 20), FakeBrokenArtifacts(store, broken))
    assert await cache.get_or_compute("t", SHA, KEY, encoder) == (b"vector", "miss")
    assert await cache.get_or_compute("t", SHA, KEY, encoder) == (b"vector", "memory")
    assert cache.statistics().store_failures == failures


def test_artifacts_die_with_their_source_only(store: LocalObjectStore) -> None:
    artifacts = ArtifactStore(store)
    for tenant, sha256 in (("t", SHA), ("t", "ef" * 32), ("u", SHA)):
        add_source(store, tenant, sha256)
        for key in (KEY, "ee" * 32):
            artifacts.put(tenant, sha256, key, b"value")
    artifacts.delete_all("t", SHA)
    assert artifacts.get("t", SHA, KEY) is None
    assert artifacts.get("t", "ef" * 32, KEY) == artifacts.get("u", SHA, KEY) == b"value"
    assert len(list(store.list("derived/"))) == 4


async def test_a_source_deleted_while_computing_leaves_no_artifact(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    media = MediaStore(store)
    record = media.put("t", io.BytesIO(b"picture"), "image/png", None, {}, 100)

    async def compute_slowly() -> bytes:
        media.delete("t", record.ref.id)
        return b"vector"

    found = await cache_over(store).get_or_compute("t", record.ref.sha256, KEY, compute_slowly)
    assert found == (b"vector", "miss")
    assert list(store.list("")) == []


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


def test_a_value_under_another_key_is_corrupt_even_if_the_text_lines_up() -> None:
    assert unseal("ke", seal("key", b"value")) is None
    header = seal("ab", b"c")[:-1]
    assert unseal("a", header + b"bc") is None
