"""``/metrics`` shows what the caches count; nothing in it comes from a client."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from valkey_server import ValkeyServer

from serving.metrics import GatewayMetrics
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
TTL = default_ttl_seconds()


async def value() -> bytes:
    return b"value"


async def vectors(missing):
    return [StoredVector(np.zeros(4, np.float32), 1) for _ in missing]


def shown(metrics: GatewayMetrics) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    found = (re.fullmatch(r"(manymodal_cache_\S+) (\S+)", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match}


async def test_every_tier_and_the_breaker(tmp_path: Path, valkey_server: ValkeyServer) -> None:
    store = LocalObjectStore(tmp_path)
    store.put(blob_key("t", SHA), b"")
    memory = MemoryCache(1 << 20)
    redis = RedisCache(valkey_server.url, timeout_seconds=2.0, retry_seconds=3600)
    derived = DerivedCache(memory, ArtifactStore(store), redis)
    texts = VectorCache(memory, redis, TTL)
    metrics = GatewayMetrics()
    metrics.watch(derived, texts, redis)
    for key in ("k1", "k1", "k2"):
        await derived.get_or_compute("t", SHA, key, "image", value)
    await texts.get_or_compute(["a", "b", "a"], "text", vectors)
    seen = shown(metrics)
    assert seen['manymodal_cache_answers_total{cache="media",tier="miss"}'] == 2
    assert seen['manymodal_cache_answers_total{cache="media",tier="memory"}'] == 1
    assert seen['manymodal_cache_answers_total{cache="texts",tier="miss"}'] == 3
    assert seen["manymodal_cache_entries"] == 4
    assert 0 < seen["manymodal_cache_bytes"] < seen["manymodal_cache_max_bytes"] == 1 << 20
    assert seen["manymodal_cache_evictions_total"] == seen["manymodal_cache_expirations_total"] == 0
    assert seen["manymodal_cache_redis_misses_total"] == 4
    assert seen['manymodal_cache_redis_breaker{state="closed"}'] == 1
    valkey_server.kill()
    for number in range(5):
        await redis.get(str(number))
    seen = shown(metrics)
    assert seen["manymodal_cache_redis_errors_total"] == 3
    assert seen["manymodal_cache_redis_skipped_total"] == 2
    assert seen['manymodal_cache_redis_breaker{state="open"}'] == 1
    assert seen['manymodal_cache_redis_breaker{state="closed"}'] == 0
    await redis.aclose()


async def test_without_redis(tmp_path: Path) -> None:
    memory = MemoryCache(1 << 20)
    derived = DerivedCache(memory, ArtifactStore(LocalObjectStore(tmp_path)))
    metrics = GatewayMetrics()
    metrics.watch(derived, VectorCache(memory, None, TTL), None)
    assert not [name for name in shown(metrics) if "cache_redis" in name]
