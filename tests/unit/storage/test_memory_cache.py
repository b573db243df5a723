"""The in-process cache holds its bounds, forgets what is old, and keeps what is asked for again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from storage.cache import ENTRY_BYTES, MemoryCache

KEYS = st.sampled_from("abcdefgh")


class FakeTimer:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CacheMachine(RuleBasedStateMachine):
    """``MemoryCache`` beside a dictionary that forgets nothing: what is there is true, and enough is there."""

    LIMIT = 4 * ENTRY_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.timer = FakeTimer()
        self.cache = MemoryCache(self.LIMIT, self.timer)
        self.model: dict[str, tuple[bytes, float]] = {}
        self.lookups = self.hits = self.rejected = 0
        self.number = 0

    @rule(key=KEYS, size=st.integers(0, 4 * ENTRY_BYTES), ttl=st.sampled_from([1.0, 10.0, 100.0]))
    def put(self, key: str, size: int, ttl: float) -> None:
        self.number += 1
        value = (b"%d." % self.number).ljust(size, b".")
        size = len(value)
        before = self.cache.statistics()
        was = len(self.model[key][0]) + ENTRY_BYTES if self.holds(key) else 0
        kept = self.cache.put(key, value, ttl)
        after = self.cache.statistics()
        assert kept == (size + ENTRY_BYTES <= self.LIMIT)
        self.model.pop(key, None)
        if kept:
            self.model[key] = value, self.timer.now + ttl
            assert key in self.cache
        else:
            self.rejected += 1
            assert key not in self.cache
        if before.size_bytes - was + size + ENTRY_BYTES <= self.LIMIT:
            assert after.evictions == before.evictions  # nobody goes while there is room

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        self.lookups += 1
        expected = key in self.cache
        value = self.cache.get(key)
        assert (value is not None) == expected
        if value is not None:
            self.hits += 1
            assert self.model[key][0] == value
            assert self.model[key][1] > self.timer.now

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.cache.delete(key)
        self.model.pop(key, None)
        assert key not in self.cache

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.timer.now += seconds

    def holds(self, key: str) -> bool:
        """Whether an entry lies under ``key``, be it too old."""
        now, self.timer.now = self.timer.now, 0.0
        found = key in self.cache
        self.timer.now = now
        return found

    @invariant()
    def counts_agree(self) -> None:
        seen = self.cache.statistics()
        held = [key for key in "abcdefgh" if self.holds(key)]
        assert seen.entries == len(held)
        assert seen.size_bytes == sum(len(self.model[key][0]) + ENTRY_BYTES for key in held) <= self.LIMIT
        assert (seen.hits, seen.hits + seen.misses) == (self.hits, self.lookups)
        assert seen.rejected == self.rejected
        assert len(held) + seen.evictions + seen.expirations >= len(self.model)


CacheMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCacheMachine = CacheMachine.TestCase


def hit_rate(cache: MemoryCache, keys: list[str], lookups: int, dice: np.random.Generator) -> float:
    """80 % of the look-ups go to the first fifth of ``keys``; a miss is put."""
    hot = len(keys) // 5
    to_hot = dice.random(lookups) < 0.8
    positions = np.where(to_hot, dice.integers(hot, size=lookups), dice.integers(hot, len(keys), lookups))
    hits = 0
    for position in positions.tolist():
        if cache.get(keys[position]) is None:
            cache.put(keys[position], bytes(100), 3600)
        else:
            hits += 1
    return hits / lookups


def test_a_fifth_of_the_room_gives_seven_hits_of_ten_and_follows_the_hot_keys() -> None:
    dice = np.random.default_rng(7)
    keys = [f"{number:064x}" for number in range(1000)]
    cache = MemoryCache(200 * (100 + ENTRY_BYTES))
    for turned in (keys, keys[::-1]):  # the second time with other hot keys
        hit_rate(cache, turned, 10_000, dice)
        assert hit_rate(cache, turned, 20_000, dice) >= 0.71


def test_a_scan_does_not_push_out_what_is_asked_for_again() -> None:
    cache = MemoryCache(20 * (100 + ENTRY_BYTES))
    hot = [f"hot {number}" for number in range(10)]
    for key in hot:
        cache.put(key, bytes(100), 60)
        cache.get(key)
    for number in range(1000):
        cache.put(f"once {number}", bytes(100), 60)
    assert all(cache.get(key) is not None for key in hot)


def test_a_value_larger_than_the_protected_share_is_kept() -> None:
    cache = MemoryCache(1000 + ENTRY_BYTES)
    assert cache.put("key", bytes(1000), 60)
    assert [cache.get("key") for _ in range(3)] == [bytes(1000)] * 3
    assert cache.put("other", bytes(1000), 60)
    assert cache.get("key") is None


def test_a_value_ends_with_its_time_to_live() -> None:
    timer = FakeTimer()
    cache = MemoryCache(1 << 20, timer)
    for asked_before in (False, True):
        cache.put("key", b"value", 10)
        if asked_before:
            cache.get("key")
        timer.now += 9.999
        assert cache.get("key") == b"value"
        timer.now += 0.001
        assert "key" not in cache
        assert cache.get("key") is None
    seen = cache.statistics()
    assert (seen.expirations, seen.evictions, seen.entries, seen.size_bytes) == (2, 0, 0, 0)


def test_a_value_that_no_longer_fits_is_not_left_out_of_date() -> None:
    cache = MemoryCache(ENTRY_BYTES + 10)
    assert cache.put("key", b"old", 60)
    assert not cache.put("key", b"x" * 11, 60)
    assert cache.get("key") is None


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = MemoryCache(0)
    assert not cache.put("key", b"", 60)
    assert cache.get("key") is None


def test_threads_share_it() -> None:
    cache = MemoryCache(50 * (ENTRY_BYTES + 100))
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait(timeout=30)
        for step in range(2000):
            key = str((step * (number + 1)) % 97)
            value = cache.get(key)
            assert value is None or value == key.encode() * 20
            cache.put(key, key.encode() * 20, 60)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, number) for number in range(4)]:
            done.result(timeout=60)
    seen = cache.statistics()
    assert seen.hits + seen.misses == 8000
    assert seen.size_bytes <= seen.max_bytes
