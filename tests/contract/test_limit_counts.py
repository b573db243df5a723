"""What counts tenants' use, in memory and over a real Valkey: at, below and above every edge."""

from __future__ import annotations

import asyncio
import math

import pytest

from serving.limits.shared import SharedCounts
from serving.limits.windows import LocalCounts, Places, Window
from storage.redis import RedisCache


@pytest.fixture(params=["memory", "valkey"])
async def counts(request):
    if request.param == "memory":
        yield LocalCounts()
        return
    redis = RedisCache(request.getfixturevalue("valkey_server").url, timeout_seconds=5.0)
    yield SharedCounts(redis, LocalCounts())
    await redis.aclose()


async def test_exactly_the_limit_fits(counts):
    below = await counts.take([Window("k", 10, 9)])
    assert below.fits
    assert below.standings[0].used == 9
    at = await counts.take([Window("k", 10, 1)])
    assert at.fits
    assert at.standings[0].used == 10
    above = await counts.take([Window("k", 10, 1)])
    assert not above.fits
    assert above.standings[0].used == 10
    assert 58 < above.standings[0].wait_seconds <= 61
    never = await counts.take([Window("k", 10, 11)])
    assert math.isinf(never.standings[0].wait_seconds)
    assert (await counts.take([Window("other", 10, 10)])).fits


async def test_all_or_nothing(counts):
    await counts.take([Window("b", 1, 1)])
    both = await counts.take([Window("a", 5, 1), Window("b", 1, 1), Places("p", 1, "x", 30)])
    assert not both.fits
    assert [one.fits for one in both.standings] == [True, False, True]
    assert (await counts.take([Window("a", 5, 5), Places("p", 1, "y", 30)])).fits


async def test_what_was_not_used_comes_back(counts):
    taken = await counts.take([Window("k", 10, 8)])
    await counts.change(taken, "k", -6)
    assert (await counts.take([Window("k", 10, 8)])).fits
    await counts.change(taken, "k", 5)  # more than was thought: over the limit, and felt by the next
    assert not (await counts.take([Window("k", 10, 0)])).fits
    await counts.change(taken, "k", -100)  # never less than nothing
    assert (await counts.take([Window("k", 20, 0)])).standings[0].used >= 0


async def test_places_are_let_go_by_release_or_by_time(counts):
    assert (await counts.take([Places("p", 2, "a", 30)])).fits
    assert (await counts.take([Places("p", 2, "b", 0.05)])).fits
    assert not (await counts.take([Places("p", 2, "c", 30)])).fits
    await counts.release("p", "a")
    assert (await counts.take([Places("p", 2, "c", 30)])).fits
    await asyncio.sleep(0.1)  # whoever held b died
    assert (await counts.take([Places("p", 2, "d", 0.05)])).fits
    await counts.renew([Places("p", 2, "d", 30)])
    await asyncio.sleep(0.1)
    assert not (await counts.take([Places("p", 2, "e", 30)])).fits


async def test_totals(counts):
    assert await counts.add("t", 100, 1) is None  # nobody has counted
    await counts.set("t", 90)
    assert (await counts.add("t", 100, 10))[:2] == (True, 100)
    assert (await counts.add("t", 100, 1))[:2] == (False, 100)
    assert (await counts.add("t", 100, -5))[:2] == (True, 95)
    await counts.doubt("t")
    assert (await counts.add("t", 100, 6))[2] > 1000
    await counts.set("t", 2**52)
    assert (await counts.add("t", 2**53, 1))[1] == 2**52 + 1


async def test_two_gateways_share_and_each_goes_on_alone(valkey_server):
    first, second = (RedisCache(valkey_server.url, timeout_seconds=5.0) for _ in range(2))
    one, two = SharedCounts(first, LocalCounts()), SharedCounts(second, LocalCounts())
    assert (await one.take([Window("k", 3, 2)])).fits
    assert (await two.take([Window("k", 3, 1)])).fits
    assert not (await one.take([Window("k", 3, 1)])).fits
    valkey_server.kill()
    taken = await one.take([Window("k", 3, 1)])  # by itself
    assert taken.fits
    assert not taken.shared
    await one.change(taken, "k", -1)
    await one.release("p", "x")
    assert (await one.take([Window("k", 3, 3)])).fits
    assert not (await one.take([Window("k", 3, 1)])).fits
    await asyncio.gather(first.aclose(), second.aclose())


async def test_each_call_is_one_round_trip(valkey_server):
    redis = RedisCache(valkey_server.url, timeout_seconds=5.0)
    counts = SharedCounts(redis, LocalCounts())
    wanted = [Window("a", 9, 1), Window("b", 9, 1), Places("c", 9, "x", 30)]
    await counts.take(wanted)  # loads the script
    before = await redis.run(lambda client, _: client.info("commandstats"))
    await counts.take(wanted)
    after = await redis.run(lambda client, _: client.info("commandstats"))
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 1
    await redis.aclose()


async def test_a_minute_slides():
    now = [100.5]
    counts = LocalCounts(lambda: now[0])
    await counts.take([Window("k", 4, 1)])
    now[0] = 130.0
    await counts.take([Window("k", 4, 3)])
    refused = (await counts.take([Window("k", 4, 1)])).standings[0]
    assert refused.wait_seconds == 31.0
    assert refused.reset_seconds == 61.0
    now[0] = 160.9  # the first is 60.4 seconds old, or, had it come at the end of its second, 59.9
    assert not (await counts.take([Window("k", 4, 1)])).fits
    now[0] = 161.0
    assert (await counts.take([Window("k", 4, 1)])).fits
    assert not (await counts.take([Window("k", 4, 1)])).fits


async def test_of_many_tenants_those_who_have_gone_are_forgotten_once_a_second(monkeypatch):
    now, looked = [100.0], list[int]()
    counts = LocalCounts(lambda: now[0])
    prune = counts._prune
    monkeypatch.setattr(counts, "_prune", lambda second: (looked.append(second), prune(second)))
    for tenant in range(10_100):
        await counts.take([Window(f"{tenant}", 4, 1)])
    assert looked == [100]
    now[0] = 161.0
    await counts.take([Window("another", 4, 1)])
    assert looked == [100, 161]
    assert list(counts._used) == ["another"]
