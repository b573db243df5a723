"""The in-process cache holds its bound and forgets in the right order: compared with a plain model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from storage.cache import ENTRY_BYTES, MemoryCache

KEYS = st.sampled_from("abcdefgh")


class CacheMachine(RuleBasedStateMachine):
    """``MemoryCache`` beside an ordered dictionary, oldest use first."""

    LIMIT = 4 * ENTRY_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.cache = MemoryCache(self.LIMIT)
        self.model: OrderedDict[str, bytes] = OrderedDict()
        self.hits = self.misses = self.evictions = self.rejected = 0

    def model_bytes(self) -> int:
        return sum(len(value) + ENTRY_BYTES for value in self.model.values())

    @rule(key=KEYS, size=st.integers(0, 4 * ENTRY_BYTES))
    def put(self, key: str, size: int) -> None:
        value = key.encode() * size
        kept = self.cache.put(key, value)
        assert kept == (size + ENTRY_BYTES <= self.LIMIT)
        if not kept:
            self.rejected += 1
            self.model.pop(key, None)
            return
        # cachetools evicts for the growth of a value, counting the old one until it is replaced
        grown = size - len(self.model[key]) if key in self.model else size + ENTRY_BYTES
        while self.model_bytes() + grown > self.LIMIT:
            evicted, _ = self.model.popitem(last=False)
            self.evictions += 1
            if evicted == key:
                grown = size + ENTRY_BYTES
        self.model[key] = value
        self.model.move_to_end(key)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        value = self.cache.get(key)
        assert value == self.model.get(key)
        if value is None:
            self.misses += 1
        else:
            self.hits += 1
            self.model.move_to_end(key)

    @invariant()
    def counts_agree(self) -> None:
        seen = self.cache.statistics()
        assert seen.size_bytes == self.model_bytes() <= seen.max_bytes == self.LIMIT
        assert (seen.entries, seen.hits, seen.misses) == (len(self.model), self.hits, self.misses)
        assert (seen.evictions, seen.rejected) == (self.evictions, self.rejected)


CacheMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestCacheMachine = CacheMachine.TestCase


def test_a_value_that_no_longer_fits_is_not_left_out_of_date() -> None:
    cache = MemoryCache(ENTRY_BYTES + 10)
    assert cache.put("key", b"old")
    assert not cache.put("key", b"x" * 11)
    assert cache.get("key") is None


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = MemoryCache(0)
    assert not cache.put("key", b"")
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
            cache.put(key, key.encode() * 20)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, number) for number in range(4)]:
            done.result(timeout=60)
    seen = cache.statistics()
    assert seen.hits + seen.misses == 8000
    assert seen.size_bytes <= seen.max_bytes
