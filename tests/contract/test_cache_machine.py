"""All tiers against a dictionary: real memory, a real Valkey server, a real store, each of which may be lost."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from valkey_server import ValkeyServer

from storage.artifacts import ArtifactStore
from storage.cache import ENTRY_BYTES, MemoryCache
from storage.derived import DerivedCache
from storage.keys import blob_key
from storage.local import LocalObjectStore
from storage.redis import RedisCache

T = TypeVar("T")

SOURCES = {"k1": "ab" * 32, "k2": "ab" * 32, "k3": "cd" * 32}  # of each artifact key
KEYS = st.sampled_from(sorted(SOURCES))
HASHES = st.sampled_from(sorted(set(SOURCES.values())))


class TierMachine(RuleBasedStateMachine):
    """``model`` has the values computed for each key since it was last forgotten: no other may be answered.
    (Two gateways may hold different ones, when the store lost the first.)

    ``durable`` are keys in the store, ``stale`` those that Redis may still hold though they were forgotten,
    because it was down.
    """

    def __init__(self, server: ValkeyServer) -> None:
        super().__init__()
        self.server = server
        self.raw = redis.Redis.from_url(server.url)
        self.raw.flushall()
        self.running = True
        self.root = Path(tempfile.mkdtemp(prefix="tier-machine-"))
        self.store = LocalObjectStore(self.root)
        self.now = 0.0
        self.runner = asyncio.Runner()
        self.open()
        for sha256 in SOURCES.values():
            self.store.put(blob_key("t", sha256), b"")
        self.present = set(SOURCES.values())
        self.model: dict[str, set[bytes]] = {key: set() for key in SOURCES}
        self.durable: set[str] = set()
        self.stale: set[str] = set()
        self.computed = 0

    def open(self) -> None:
        self.redis = RedisCache(self.server.url, timeout_seconds=0.5, retry_seconds=0.001)
        memory = MemoryCache(2 * (ENTRY_BYTES + 100), lambda: self.now)
        self.cache = DerivedCache(memory, ArtifactStore(self.store), self.redis)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule()
    def ask_for_all(self) -> None:
        for key in SOURCES:
            self.ask(self.cache, key)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=3))
    def another_gateway_asks(self, keys: list[str]) -> None:
        """One that has nothing in memory."""
        other = DerivedCache(MemoryCache(1 << 20), ArtifactStore(self.store), self.redis)
        for key in keys:
            self.ask(other, key)

    def ask(self, cache: DerivedCache, key: str) -> None:
        async def compute() -> bytes:
            self.computed += 1
            return b"value %d of %s" % (self.computed, key.encode())

        before = self.computed
        value, tier = self.run(cache.get_or_compute("t", SOURCES[key], key, "image", compute))
        assert (tier == "miss") == (self.computed == before + 1)
        if tier == "miss":
            assert key not in self.durable
            assert value == b"value %d of %s" % (self.computed, key.encode())
            self.model[key].add(value)
            if SOURCES[key] in self.present:
                self.durable.add(key)
                self.stale.discard(key)
        elif SOURCES[key] not in self.present:
            assert key in self.stale
        assert value in self.model[key]

    @rule(seconds=st.sampled_from([10.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def gateway_crashes(self) -> None:
        self.runner.close()
        self.runner = asyncio.Runner()
        self.open()

    @precondition(lambda self: self.running)
    @rule()
    def redis_is_killed(self) -> None:
        self.server.kill()
        self.running = False
        self.stale.clear()

    @precondition(lambda self: not self.running)
    @rule()
    def redis_comes_back(self) -> None:
        self.server.start()
        self.running = True

    @precondition(lambda self: self.running)
    @rule()
    def redis_is_emptied(self) -> None:
        self.raw.flushall()
        self.stale.clear()

    @precondition(lambda self: self.running)
    @rule(bit=st.integers(0, 350))
    def bits_flip_in_redis(self, bit: int) -> None:
        for name in self.raw.scan_iter():
            self.raw.setbit(name, bit, 1 - int(self.raw.getbit(name, bit)))

    @rule(key=KEYS, position=st.integers(0, 20))
    def a_bit_flips_in_the_store(self, key: str, position: int) -> None:
        if key in self.durable:
            name = f"derived/t/{SOURCES[key]}/{key}"
            framed = bytearray(self.store.get(name))
            framed[position] ^= 4
            self.store.put(name, bytes(framed))
            self.durable.discard(key)

    @rule(sha256=HASHES)
    def the_source_is_deleted(self, sha256: str) -> None:
        self.store.delete(blob_key("t", sha256))
        ArtifactStore(self.store).delete_all("t", sha256)
        self.present.discard(sha256)
        keys = [key for key, source in SOURCES.items() if source == sha256]
        before = self.redis.statistics()
        self.run(self.cache.forget(keys))
        after = self.redis.statistics()
        self.durable.difference_update(keys)
        if (after.errors, after.skipped) != (before.errors, before.skipped) and self.running:
            self.stale.update(keys)  # the breaker was still open
        else:
            self.stale.difference_update(keys)
            for key in keys:
                self.model[key].clear()

    @rule(sha256=HASHES)
    def the_source_comes_back(self, sha256: str) -> None:
        self.store.put(blob_key("t", sha256), b"")
        self.present.add(sha256)

    @rule(sha256=HASHES)
    def warm_up(self, sha256: str) -> None:
        report = self.run(self.cache.warm_up([("t", sha256, "image")]))
        assert report.loaded <= sum(source == sha256 for source in SOURCES.values())

    @invariant()
    def memory_is_bounded(self) -> None:
        memory = self.cache.statistics().memory
        assert memory.size_bytes <= memory.max_bytes

    def teardown(self) -> None:
        self.runner.close()
        self.raw.close()
        shutil.rmtree(self.root)
        if not self.running:
            self.server.start()


def test_no_tier_ever_answers_what_was_not_computed(valkey_server: ValkeyServer) -> None:
    run_state_machine_as_test(
        lambda: TierMachine(valkey_server),
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None),
    )
