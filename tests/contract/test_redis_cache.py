"""The shared cache against a real Valkey server, which is killed, paused, restarted and damaged."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest
from redis.asyncio import Redis
from valkey_server import ValkeyServer

from storage.redis import RedisCache

_TTL = 60.0


@pytest.fixture
async def cache(valkey_server: ValkeyServer) -> AsyncIterator[RedisCache]:
    cache = RedisCache(valkey_server.url, timeout_seconds=2.0)
    yield cache
    await cache.aclose()


@pytest.fixture
async def raw(valkey_server: ValkeyServer) -> AsyncIterator[Redis]:
    """What lies in the server, past our own code."""
    client = Redis.from_url(valkey_server.url)
    yield client
    await client.aclose()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until ``condition`` holds; the test's own time limit ends it."""
    while not await condition():  # noqa: ASYNC110 - the condition is another process's
        await asyncio.sleep(0.05)


async def test_values_come_back(cache: RedisCache, raw: Redis) -> None:
    await cache.put("a", b"1", _TTL)
    await cache.put_many({"b": b"", "c": b"x" * 100_000}, _TTL)
    assert await cache.get("a") == b"1"
    assert await cache.get_many(["c", "none", "a", "b"]) == [b"x" * 100_000, None, b"1", b""]
    assert await cache.get_many([]) == []
    assert sorted(await raw.keys()) == [b"manymodal:1:a", b"manymodal:1:b", b"manymodal:1:c"]
    await cache.delete_many(["a", "c", "none"])
    await cache.delete_many([])
    assert await cache.get_many(["a", "b", "c"]) == [None, b"", None]
    seen = cache.statistics()
    assert (seen.hits, seen.misses, seen.errors, seen.corrupt, seen.state) == (5, 3, 0, 0, "closed")


async def test_values_end_with_their_time_to_live(cache: RedisCache, raw: Redis) -> None:
    await cache.put("long", b"1", 1800)
    await cache.put("short", b"1", 0.0001)
    assert 1_790_000 < await raw.pttl("manymodal:1:long") <= 1_800_000

    async def gone() -> bool:
        return await cache.get("short") is None

    await eventually(gone)


async def test_values_too_large_are_not_sent(cache: RedisCache, raw: Redis) -> None:
    await cache.put("large", bytes((8 << 20) + 1), _TTL)
    await cache.put_many({"fits": bytes(8 << 20), "too large": bytes((8 << 20) + 1)}, _TTL)
    assert await raw.keys() == [b"manymodal:1:fits"]
    assert cache.statistics().oversized == 2


async def test_a_thousand_flipped_bits_are_all_misses(cache: RedisCache, raw: Redis) -> None:
    dice = np.random.default_rng(11)
    keys = [f"{number:064x}" for number in range(1000)]
    values = {key: dice.bytes(200) for key in keys}
    await cache.put_many(values, _TTL)
    for key in keys:
        length = await raw.strlen(f"manymodal:1:{key}")
        bit = int(dice.integers(8 * length))
        was = await raw.getbit(f"manymodal:1:{key}", bit)
        await raw.setbit(f"manymodal:1:{key}", bit, 1 - was)
    assert await cache.get_many(keys) == [None] * 1000
    assert await raw.dbsize() == 0
    seen = cache.statistics()
    assert (seen.corrupt, seen.hits, seen.misses) == (1000, 0, 1000)
    await cache.put_many(values, _TTL)
    assert await cache.get_many(keys) == list(values.values())


async def test_values_under_another_key_cut_or_foreign_are_misses(cache: RedisCache, raw: Redis) -> None:
    await cache.put("a", b"value", _TTL)
    sealed = await raw.get("manymodal:1:a")
    for damaged in (sealed, sealed[:-1], b"", b"MMV1", b"\x80\x04pickle"):
        await raw.set("manymodal:1:b", damaged)
        assert await cache.get("b") is None
        assert await raw.exists("manymodal:1:b") == 0


async def test_a_key_of_another_kind_is_a_miss(cache: RedisCache, raw: Redis) -> None:
    await raw.rpush("manymodal:1:list", "x")
    assert await cache.get("list") is None


async def test_a_full_server_costs_only_the_values(
    cache: RedisCache, raw: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await cache.put("a", b"1", _TTL)
    await raw.config_set("maxmemory", 1)
    await asyncio.gather(*(cache.put("b", b"1", _TTL) for _ in range(10)))
    assert await cache.get_many(["a", "b"]) == [b"1", None]
    seen = cache.statistics()
    assert (seen.errors, seen.skipped, seen.state) == (10, 0, "closed")
    assert len([record for record in caplog.records if "maxmemory" in record.message]) == 1


async def test_a_password_is_used(valkey_server: ValkeyServer, raw: Redis) -> None:
    await raw.config_set("requirepass", "correct horse")
    right = RedisCache(valkey_server.url.replace("//", "//:correct%20horse@"), 2.0)
    wrong = RedisCache(valkey_server.url.replace("//", "//:battery@"), 2.0)
    for cache, found in ((right, b"1"), (wrong, None)):
        await cache.put("a", b"1", _TTL)
        assert await cache.get("a") == found
        await cache.aclose()
    assert wrong.statistics().errors == 2


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", ""])
def test_a_wrong_address_is_found_at_the_start(url: str) -> None:
    with pytest.raises(ValueError, match="redis://"):
        RedisCache(url)


async def test_a_restarted_server_is_used_at_once(valkey_server: ValkeyServer, cache: RedisCache) -> None:
    await asyncio.gather(*(cache.put(str(number), b"1", _TTL) for number in range(40)))
    valkey_server.restart()
    assert await asyncio.gather(*(cache.get(str(number)) for number in range(40))) == [None] * 40
    await cache.put("a", b"1", _TTL)
    assert await cache.get("a") == b"1"
    assert cache.statistics().errors == 0


async def test_a_killed_server_is_left_alone_until_it_is_back(valkey_server: ValkeyServer) -> None:
    cache = RedisCache(valkey_server.url, timeout_seconds=2.0, retry_seconds=0.5)
    await cache.put("a", b"1", _TTL)
    valkey_server.kill()
    for _ in range(10):
        assert await cache.get("a") is None
    seen = cache.statistics()
    assert (seen.errors, seen.timeouts, seen.skipped, seen.state) == (3, 0, 7, "open")
    valkey_server.start()

    async def usable() -> bool:
        await cache.put("a", b"2", _TTL)
        return await cache.get("a") == b"2"

    await eventually(usable)
    assert cache.statistics().state == "closed"
    assert cache.statistics().errors == 3
    await cache.aclose()


async def test_a_server_that_is_never_there(valkey_server: ValkeyServer) -> None:
    valkey_server.stop()
    cache = RedisCache(valkey_server.url)
    await cache.put("a", b"1", _TTL)
    assert await cache.get_many(["a", "b"]) == [None, None]
    await cache.delete_many(["a"])
    assert cache.statistics().errors == 3
    await cache.aclose()


async def test_half_open_lets_one_caller_try(valkey_server: ValkeyServer) -> None:
    cache = RedisCache(valkey_server.url, timeout_seconds=0.3, retry_seconds=0.3)
    await cache.put("a", b"1", _TTL)
    valkey_server.pause()
    await asyncio.gather(*(cache.get("a") for _ in range(3)))
    before = cache.statistics()
    assert (before.timeouts, before.state) == (3, "open")

    async def half_open() -> bool:
        return cache.statistics().state == "half_open"

    await eventually(half_open)
    assert await asyncio.gather(*(cache.get("a") for _ in range(64))) == [None] * 64
    after = cache.statistics()
    assert (after.timeouts, after.skipped, after.state) == (4, 63, "open")
    valkey_server.resume()
    await eventually(half_open)
    answers = await asyncio.gather(*(cache.get("a") for _ in range(64)))
    assert answers.count(b"1") >= 1
    assert cache.statistics().state == "closed"
    assert await cache.get("a") == b"1"
    await cache.aclose()


async def test_a_cancelled_caller_breaks_nothing(valkey_server: ValkeyServer) -> None:
    cache = RedisCache(valkey_server.url, timeout_seconds=5.0)
    await cache.put("a", b"1", _TTL)
    valkey_server.pause()
    callers = [asyncio.create_task(cache.get("a")) for _ in range(50)]
    callers.append(asyncio.create_task(cache.put("b", b"2", _TTL)))
    await asyncio.sleep(0.05)
    for caller in callers:
        caller.cancel()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    valkey_server.resume()
    assert await asyncio.gather(*(cache.get("a") for _ in range(50))) == [b"1"] * 50
    assert await cache.get("b") == b"2"  # its work went on
    seen = cache.statistics()
    assert (seen.errors, seen.skipped, seen.state) == (0, 0, "closed")
    await cache.aclose()


async def test_after_closing_nothing_is_asked(cache: RedisCache) -> None:
    await cache.put("a", b"1", _TTL)
    await cache.aclose()
    await cache.aclose()
    assert await cache.get("a") is None
    assert cache.statistics().skipped == 1


def test_event_loops_one_after_the_other_leave_nothing_open(valkey_server: ValkeyServer) -> None:
    """Also when nobody closed it, and when the server had stopped reading in the middle of large values."""
    cache = RedisCache(valkey_server.url, timeout_seconds=0.5)

    async def use() -> bytes | None:
        await asyncio.gather(*(cache.put(str(number), b"1", _TTL) for number in range(10)))
        return await cache.get("3")

    async def use_paused() -> None:
        valkey_server.pause()
        await cache.put_many({str(number): bytes(4 << 20) for number in range(4)}, _TTL)

    async def close() -> None:
        await cache.aclose()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert asyncio.run(use()) == b"1"
        gc.collect()
        assert asyncio.run(use()) == b"1"
        asyncio.run(use_paused())
        gc.collect()
        asyncio.run(close())
        gc.collect()
    assert [str(warning.message) for warning in seen] == []
    assert cache.statistics().timeouts == 1
