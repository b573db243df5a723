"""Embeddings of texts: packed exactly, looked up many at a time, each computed once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from valkey_server import ValkeyServer

from storage.cache import MemoryCache
from storage.config import default_ttl_seconds
from storage.redis import RedisCache
from storage.vector_cache import VectorCache
from storage.vectors import StoredVector, pack_vector, unpack_vector

TTL = default_ttl_seconds()

arrays = st_numpy.arrays(
    st.sampled_from(["<f2", "<f4", "<f8", ">f4", "|i1", "|u1"]),
    st_numpy.array_shapes(min_dims=0, max_dims=2, max_side=8),
)


@given(arrays, st.integers(0, 1 << 40))
def test_a_vector_comes_back_exactly(array: np.ndarray[Any, Any], tokens: int) -> None:
    back = unpack_vector(pack_vector(StoredVector(array, tokens)))
    assert back is not None
    assert (back.tokens, back.vector.shape) == (tokens, array.shape)
    assert back.vector.dtype == array.dtype.newbyteorder("<")
    assert back.vector.tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_strided_and_foreign_arrays() -> None:
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    back = unpack_vector(pack_vector(StoredVector(grid[:, ::2], 1)))
    assert back is not None
    assert np.array_equal(back.vector, grid[:, ::2])
    for refused in (
        np.array([object()]),
        np.array(["text"]),
        np.zeros(2, np.complex64),
        np.zeros(2, "M8[s]"),
    ):
        with pytest.raises(ValueError, match="cannot be stored"):
            pack_vector(StoredVector(refused, 1))


@pytest.mark.parametrize(
    "fields",
    [
        [["<f4", [3], bytes(8)], 1],
        [["<f4", [2], bytes(12)], 1],
        [["<f4", [-2, -1], bytes(8)], 1],
        [["<f4", [2], bytes(8)], -1],
        [[">f4", [2], bytes(8)], 1],
        [["|O", [1], bytes(8)], 1],
        [["<c8", [1], bytes(8)], 1],
        [["<f4, <f4", [1], bytes(8)], 1],
        [["nonsense", [1], bytes(8)], 1],
        [["<f4", [2.0], bytes(8)], 1],
        [["<f4", [2], "text"], 1],
        [["<f4", [2], bytes(8)], 1, 0],
        [["<f4", [2], bytes(8)], 1, 2, 3],
        [["<f4", [2], bytes(8)]],
        {"dtype": "<f4"},
        None,
    ],
)
def test_inconsistent_fields_are_no_vector(fields: Any) -> None:
    assert unpack_vector(msgspec.msgpack.encode(fields)) is None


@given(st.binary(max_size=60))
def test_other_bytes_are_no_vector(data: bytes) -> None:
    back = unpack_vector(data)
    assert back is None or pack_vector(back) is not None


def vector_of(key: str) -> StoredVector:
    return StoredVector(np.frombuffer(key.encode().ljust(8, b"\0"), "<f4"), len(key))


class FakeEncoder:
    """Computes vectors of keys; counts; can be held up and can fail."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.cancelled = 0
        self.failure: Exception | None = None
        self.let_go = asyncio.Event()
        self.let_go.set()

    def __call__(self, keys: Sequence[str]) -> Any:
        async def compute(missing: Sequence[int]) -> list[StoredVector]:
            self.asked.append([keys[position] for position in missing])
            try:
                await asyncio.wait_for(self.let_go.wait(), timeout=30)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            if self.failure is not None:
                raise self.failure
            return [vector_of(keys[position]) for position in missing]

        return compute


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
async def redis(valkey_server: ValkeyServer) -> AsyncIterator[RedisCache]:
    redis = RedisCache(valkey_server.url, timeout_seconds=2.0)
    yield redis
    await redis.aclose()


def fresh(redis: RedisCache | None = None) -> VectorCache:
    return VectorCache(MemoryCache(1 << 20), redis, TTL)


async def look(cache: VectorCache, encoder: FakeEncoder, text: str) -> list[str]:
    """Look up one key per letter; check the vectors; the tiers."""
    keys = list(text)
    vectors, tiers = await cache.get_or_compute(keys, "text", encoder(keys))
    for key, found in zip(keys, vectors, strict=True):
        assert found.tokens == len(key)
        assert found.vector.tobytes() == vector_of(key).vector.tobytes()
    return [*tiers]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_tiers(encoder: FakeEncoder, redis: RedisCache) -> None:
    cache = fresh(redis)
    assert await look(cache, encoder, "ab") == ["miss", "miss"]
    assert await look(cache, encoder, "bca") == ["memory", "miss", "memory"]
    other = fresh(redis)
    assert await look(other, encoder, "abcd") == ["redis", "redis", "redis", "miss"]
    assert await look(other, encoder, "dcba") == ["memory"] * 4
    assert encoder.asked == [["a", "b"], ["c"], ["d"]]
    seen = other.statistics()
    assert (seen.memory_hits, seen.redis_hits, seen.misses) == (4, 3, 1)
    assert await look(cache, encoder, "") == []


async def test_repetitions_in_a_batch_are_computed_once(encoder: FakeEncoder) -> None:
    cache = fresh()
    assert await look(cache, encoder, "abaab") == ["miss"] * 5
    assert encoder.asked == [["a", "b"]]


async def test_overlapping_batches_compute_each_key_once(encoder: FakeEncoder, redis: RedisCache) -> None:
    cache = fresh(redis)
    encoder.let_go.clear()
    batches = [asyncio.create_task(look(cache, encoder, text)) for text in ("abc", "bcd", "cde", "abc")]
    while len(encoder.asked) < 3:  # noqa: ASYNC110 - Redis is in between
        await asyncio.sleep(0.001)
    encoder.let_go.set()
    assert await asyncio.gather(*batches) == [["miss"] * 3] * 4
    assert sorted(encoder.asked) == [["a", "b", "c"], ["d"], ["e"]]


async def test_an_error_reaches_all_who_wait_for_that_key_and_nobody_else(
    encoder: FakeEncoder, redis: RedisCache
) -> None:
    await look(fresh(redis), FakeEncoder(), "a")
    cache = fresh(redis)
    encoder.let_go.clear()
    encoder.failure = ValueError("broken")
    failing = [asyncio.create_task(look(cache, encoder, text)) for text in ("ab", "b")]
    found = asyncio.create_task(look(cache, encoder, "a"))  # joins the batch, whose "a" Redis has
    assert await found == ["redis"]
    encoder.let_go.set()
    for result in await asyncio.gather(*failing, return_exceptions=True):
        assert str(result) == "broken"
    encoder.failure = None
    assert await look(cache, encoder, "ab") == ["memory", "miss"]


async def test_a_wrong_number_of_vectors_is_an_error(encoder: FakeEncoder) -> None:
    async def compute(missing: Sequence[int]) -> list[StoredVector]:
        return [vector_of("x")]

    cache = fresh()
    with pytest.raises(ValueError, match="zip"):
        await cache.get_or_compute(["a", "b"], "text", compute)
    assert await look(cache, encoder, "ab") == ["miss", "miss"]


@pytest.mark.parametrize("gone", [[0], [1], [0, 2]])
async def test_a_cancelled_caller_takes_nothing_away(encoder: FakeEncoder, gone: list[int]) -> None:
    cache = fresh()
    encoder.let_go.clear()
    callers = [asyncio.create_task(look(cache, encoder, text)) for text in ("abc", "b", "c")]
    await settle()
    for number in gone:
        callers[number].cancel()
    await settle()
    encoder.let_go.set()
    for number, result in enumerate(await asyncio.gather(*callers, return_exceptions=True)):
        assert isinstance(result, asyncio.CancelledError) == (number in gone)
    assert (encoder.asked, encoder.cancelled) == ([["a", "b", "c"]], 0)
    assert await look(cache, encoder, "abc") == ["memory"] * 3


async def test_work_that_nobody_waits_for_is_cancelled_and_newcomers_start_afresh(
    encoder: FakeEncoder,
) -> None:
    cache = fresh()
    encoder.let_go.clear()
    callers = [asyncio.create_task(look(cache, encoder, text)) for text in ("ab", "b")]
    await settle()
    for caller in callers:
        caller.cancel()
    await asyncio.sleep(0)
    newcomer = asyncio.create_task(look(cache, encoder, "b"))
    await settle()
    encoder.let_go.set()
    assert await newcomer == ["miss"]
    assert encoder.asked == [["a", "b"], ["b"]]
    assert encoder.cancelled == 1


async def test_failures_that_nobody_waits_for_are_not_reported_as_lost(encoder: FakeEncoder) -> None:
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context))
    encoder.failure = ValueError("broken")
    results = await asyncio.gather(look(fresh(), encoder, "abcdefgh"), return_exceptions=True)
    assert [str(result) for result in results] == ["broken"]
    results = []  # the error's traceback holds all that was lost
    encoder.failure = None
    await settle()
    gc.collect()
    await settle()
    assert lost == []


async def test_a_value_that_is_no_vector_is_a_miss(encoder: FakeEncoder, redis: RedisCache) -> None:
    memory = MemoryCache(1 << 20)
    memory.put("a", b"of another time", 60)
    await redis.put("b", b"of another time", 60)
    cache = VectorCache(memory, redis, TTL)
    assert await look(cache, encoder, "ab") == ["miss", "miss"]
    assert await look(cache, encoder, "ab") == ["memory", "memory"]
    assert await look(fresh(redis), encoder, "ab") == ["redis", "redis"]


async def test_texts_are_kept_for_their_time(encoder: FakeEncoder) -> None:
    now = 0.0
    cache = VectorCache(MemoryCache(1 << 20, lambda: now), None, {**TTL, "text": 10.0})
    await look(cache, encoder, "a")
    now = 9.0
    assert await look(cache, encoder, "a") == ["memory"]
    now = 10.0
    assert await look(cache, encoder, "a") == ["miss"]


async def test_a_dead_redis_costs_no_answer(valkey_server: ValkeyServer, encoder: FakeEncoder) -> None:
    valkey_server.stop()
    redis = RedisCache(valkey_server.url)
    for _ in range(5):
        assert await look(fresh(redis), encoder, "ab") == ["miss", "miss"]
    assert redis.statistics().errors == 3
    await redis.aclose()
