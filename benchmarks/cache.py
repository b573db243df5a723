"""What a cache hit costs, in memory and in a real Valkey server on loopback, and how often memory hits.

The value is a 512-dimensional float32 vector. Memory: ``MemoryCache.get`` alone and ``DerivedCache.get_or_compute``
around it. Redis: ``RedisCache.get`` with checksum and unpacking, against a plain ``redis.asyncio`` client's GET
of the same bytes, taking turns. Hit rate: 80 % of the look-ups go evenly to a fifth of the keys, the cache has
room for a fifth of them; beside ours ``cachetools.LRUCache``.
Goals: memory hit < 50 microseconds, Redis hit < 1 ms at p99, hit rate >= 0.70. Exit code 1 when the median of
the rounds misses one. ``make bench-cache`` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from redis.asyncio import Redis

from benchmarks.report import ratios, summary, write
from storage.artifacts import ArtifactStore
from storage.cache import ENTRY_BYTES, MemoryCache
from storage.derived import DerivedCache
from storage.framing import seal
from storage.local import LocalObjectStore
from storage.redis import RedisCache
from storage.vectors import StoredVector, pack_vector, unpack_vector
from tests.valkey_server import ValkeyServer

MEMORY_GOAL_MICROSECONDS = 50
REDIS_GOAL_MILLISECONDS = 1.0
HIT_RATE_GOAL = 0.70

_DIMENSIONS = 512
_KEYS = [f"{number:064x}" for number in range(500)]
_PATTERN_KEYS = 5000
_WARM_UP = 100  # look-ups before those that count
_TTL_SECONDS = 3600.0

Values = dict[str, list[float]]


def main() -> int:
    """Measure, print, write ``results/cache.json``; the exit code says whether the goals were met."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--lookups", type=int, default=5000, help="per variant and round")
    given = options.parse_args()

    dice = np.random.default_rng(2026)
    vectors = dice.standard_normal((len(_KEYS), _DIMENSIONS)).astype(np.float32)
    packed = {key: pack_vector(StoredVector(vector, 7)) for key, vector in zip(_KEYS, vectors, strict=True)}
    memory = asyncio.run(_measure_memory(packed, given.rounds, given.lookups))
    server = ValkeyServer()
    server.start()
    try:
        redis = asyncio.run(_measure_redis(server.url, packed, given.rounds, given.lookups))
    finally:
        server.stop()
    rates = _measure_hit_rates(len(next(iter(packed.values()))), given.rounds)

    result: dict[str, Any] = {
        "memory_microseconds": {name: summary(values) for name, values in memory.items()},
        "redis_milliseconds": {name: summary(values) for name, values in redis.items()},
        "redis_ratio": {
            which: ratios(redis[f"ours {which}"], redis[f"plain client {which}"]) for which in ("p50", "p99")
        },
        "hit_rate": {name: summary(values) for name, values in rates.items()},
        "goals": {
            "memory_microseconds_max": MEMORY_GOAL_MICROSECONDS,
            "redis_milliseconds_max": REDIS_GOAL_MILLISECONDS,
            "hit_rate_min": HIT_RATE_GOAL,
        },
        "settings": {
            "command": "python -m benchmarks.cache",
            "rounds": given.rounds,
            "lookups": given.lookups,
            "dimensions": _DIMENSIONS,
            "value_bytes": len(next(iter(packed.values()))),
            "pattern_keys": _PATTERN_KEYS,
        },
    }
    for kind in ("memory_microseconds", "redis_milliseconds", "redis_ratio", "hit_rate"):
        for name, seen in result[kind].items():
            print(f"{kind} {name}: {seen['median']:.3f} ({seen['min']:.3f}-{seen['max']:.3f})")
    print(f"Written to {write('cache', result)}")
    missed = _missed(result)
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


def _missed(result: dict[str, Any]) -> list[str]:
    missed = []
    for name in ("MemoryCache.get p99", "DerivedCache.get_or_compute p99"):
        microseconds = result["memory_microseconds"][name]["median"]
        if microseconds >= MEMORY_GOAL_MICROSECONDS:
            missed.append(f"{name}: {microseconds:.1f} microseconds")
    milliseconds = result["redis_milliseconds"]["ours p99"]["median"]
    if milliseconds >= REDIS_GOAL_MILLISECONDS:
        missed.append(f"Redis hit at p99: {milliseconds:.2f} ms")
    if result["hit_rate"]["ours"]["median"] < HIT_RATE_GOAL:
        missed.append(f"hit rate: {result['hit_rate']['ours']['median']:.3f}")
    return missed


async def _measure_memory(packed: dict[str, bytes], rounds: int, lookups: int) -> Values:
    """Microseconds of a hit, by what is asked."""
    memory = MemoryCache(64 << 20)
    for key, value in packed.items():
        memory.put(key, value, _TTL_SECONDS)

    async def ask_memory(key: str) -> bytes | None:
        return memory.get(key)

    async def compute() -> bytes:
        raise RuntimeError("a hit was expected")

    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder:
        derived = DerivedCache(memory, ArtifactStore(LocalObjectStore(Path(folder))))

        async def ask_derived(key: str) -> bytes:
            return (await derived.get_or_compute("bench", key, key, "image", compute))[0]

        asked = {"MemoryCache.get": ask_memory, "DerivedCache.get_or_compute": ask_derived}
        return await _take_turns(asked, rounds, lookups, per_second=1e6)


async def _measure_redis(url: str, packed: dict[str, bytes], rounds: int, lookups: int) -> Values:
    """Milliseconds of a hit, by client."""
    cache = RedisCache(url)
    plain = Redis.from_url(url)
    await cache.put_many(packed, _TTL_SECONDS)
    for key, value in packed.items():
        await plain.set(key, seal(key, value))

    async def ask_ours(key: str) -> object:
        value = await cache.get(key)
        if value is None:
            raise RuntimeError("a hit was expected")
        return unpack_vector(value)

    async def ask_plain(key: str) -> object:
        return await plain.get(key)

    try:
        asked = {"ours": ask_ours, "plain client": ask_plain}
        return await _take_turns(asked, rounds, lookups, per_second=1e3)
    finally:
        await cache.aclose()
        await plain.aclose()


async def _take_turns(
    asked: Mapping[str, Callable[[str], Awaitable[object]]], rounds: int, lookups: int, per_second: float
) -> Values:
    """p50 and p99 of each round, for each of ``asked``; they change their order from round to round."""
    measured: Values = {f"{name} {which}": [] for name in asked for which in ("p50", "p99")}
    for number in range(rounds):
        for name in list(asked) if number % 2 else list(asked)[::-1]:
            ask, times = asked[name], []
            for index in range(_WARM_UP + lookups):
                key = _KEYS[index % len(_KEYS)]
                started = time.perf_counter()
                await ask(key)
                times.append(time.perf_counter() - started)
            for which in (50, 99):
                took_seconds = float(np.percentile(times[_WARM_UP:], which))
                measured[f"{name} p{which}"].append(took_seconds * per_second)
    return measured


def _measure_hit_rates(value_bytes: int, rounds: int) -> Values:
    """Hits per look-up once warm, ours beside plain LRU with the same room."""
    room = _PATTERN_KEYS // 5
    keys = [f"{number:064x}" for number in range(_PATTERN_KEYS)]
    value = bytes(value_bytes)
    rates: Values = {"ours": [], "cachetools.LRUCache": []}
    for number in range(rounds):
        dice = np.random.default_rng(number)
        pattern = _pattern(dice, 40 * _PATTERN_KEYS)
        ours = MemoryCache(room * (value_bytes + ENTRY_BYTES))
        theirs: LRUCache[str, bytes] = LRUCache(room)
        hits = {"ours": 0, "cachetools.LRUCache": 0}
        for step, position in enumerate(pattern):
            key, counts = keys[position], step >= len(pattern) // 2
            if ours.get(key) is None:
                ours.put(key, value, _TTL_SECONDS)
            else:
                hits["ours"] += counts
            if theirs.get(key) is None:
                theirs[key] = value
            else:
                hits["cachetools.LRUCache"] += counts
        for name, count in hits.items():
            rates[name].append(count / (len(pattern) - len(pattern) // 2))
    return rates


def _pattern(dice: np.random.Generator, lookups: int) -> list[int]:
    hot = _PATTERN_KEYS // 5
    to_hot = dice.random(lookups) < 0.8
    chosen = np.where(to_hot, dice.integers(hot, size=lookups), dice.integers(hot, _PATTERN_KEYS, lookups))
    return [int(position) for position in chosen]


if __name__ == "__main__":
    sys.exit(main())
