"""What the gateway counts. One ``GatewayMetrics`` per app on a registry of its own; no global state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving import origin, tracing
from serving.queue_metrics import QueueMetrics
from serving.slo import Slo
from storage.cache import CacheStatistics
from storage.derived import DerivedCache
from storage.redis import BreakerState, RedisCache, RedisStatistics
from storage.vector_cache import VectorCache

__all__ = ["GatewayMetrics"]

_TOKEN_SECONDS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class GatewayMetrics:
    """Counters and histograms of one gateway. Label values never come from a client's text."""

    def __init__(self, registry: CollectorRegistry | None = None, slo: Slo | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self.slo = slo if slo is not None else Slo()
        self.queues = QueueMetrics(self.registry)
        self.in_progress = Gauge(
            "manymodal_requests_in_progress",
            "Requests that are being answered, streams included.",
            registry=self.registry,
        )
        self.requests = Counter(
            "manymodal_requests",
            "Requests answered, by route, modalities brought and HTTP status.",
            ("endpoint", "modality", "status"),
            registry=self.registry,
        )
        self.duration = Histogram(
            "manymodal_request_duration_seconds",
            "Time from the request's first byte to the answer's last.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.first_token = Histogram(
            "manymodal_time_to_first_token_seconds",
            "Time from the request's first byte to the first streamed byte of the answer.",
            ("modality",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.between_tokens = Histogram(
            "manymodal_inter_token_seconds",
            "Time between two pieces of a streamed answer, mostly of one token each.",
            ("modality",),
            buckets=_TOKEN_SECONDS,
            registry=self.registry,
        )
        self.per_token = Histogram(
            "manymodal_time_per_output_token_seconds",
            "Time of a streamed answer after its first token, divided by the tokens after it.",
            ("modality",),
            buckets=_TOKEN_SECONDS,
            registry=self.registry,
        )
        self.generation = Histogram(
            "manymodal_generation_seconds",
            "Time from the first byte of a request for an answer of the model to the answer's last.",
            ("modality",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.answers = Counter(
            "manymodal_answers",
            "Whole answers of the model, by whether they kept to the service level objectives.",
            ("modality", "slo"),
            registry=self.registry,
        )
        self.goodput = Counter(
            "manymodal_goodput_tokens",
            "Tokens written in answers that kept to the service level objectives.",
            ("modality",),
            registry=self.registry,
        )
        self.stage = Histogram(
            "manymodal_stage_duration_seconds",
            "Time spent per stage of a request.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.degraded = Counter(
            "manymodal_degraded_answers",
            "Answers that lack a part because a deployment is down, by the part.",
            ("part",),
            registry=self.registry,
        )
        self.tokens = Counter(
            "manymodal_tokens",
            "Tokens read (prompt) and written (completion).",
            ("direction",),
            registry=self.registry,
        )
        self.cache = Counter(
            "manymodal_cache_lookups",
            "Look-ups of perceived results, by task and by the tier that answered.",
            ("task", "tier"),
            registry=self.registry,
        )
        self.errors = Counter(
            "manymodal_errors",
            "Requests that ended in an error, by code and by the modalities they brought.",
            ("code", "modality"),
            registry=self.registry,
        )

    def watch(self, derived: DerivedCache, vectors: VectorCache, redis: RedisCache | None) -> None:
        """Show what the caches count themselves among the metrics."""
        self.registry.register(_CacheCollector(derived, vectors, redis))

    @contextmanager
    def time_stage(self, stage: str) -> Iterator[None]:
        """Observe the duration of a ``with`` block as ``stage``, which is a span of the request's trace, too."""
        started = time.perf_counter()
        try:
            with tracing.span(stage):
                yield
        finally:
            self.stage.labels(stage).observe(time.perf_counter() - started)

    def count_usage(self, prompt_tokens: object, completion_tokens: object) -> None:
        """Add an answer's token counts; what is not a number is left out."""
        for direction, amount in (("prompt", prompt_tokens), ("completion", completion_tokens)):
            if isinstance(amount, int) and amount >= 0:
                self.tokens.labels(direction).inc(amount)

    def count_error(self, code: str | None) -> None:
        """The current request ended in an error of that code of ours."""
        request = origin.current()
        self.errors.labels(code or "unknown", "none" if request is None else request.modality).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus text format."""
        return generate_latest(self.registry)


class _CacheCollector(Collector):
    """What the caches count themselves. By task their look-ups are in ``manymodal_cache_lookups``."""

    def __init__(self, derived: DerivedCache, vectors: VectorCache, redis: RedisCache | None) -> None:
        self._derived = derived
        self._vectors = vectors
        self._redis = redis

    def collect(self) -> Iterator[Metric]:
        media, texts = self._derived.statistics(), self._vectors.statistics()
        answers = CounterMetricFamily(
            "manymodal_cache_answers",
            "Look-ups by cache (media: results kept beside media; texts: embeddings of texts) and by tier.",
            labels=("cache", "tier"),
        )
        answers.add_metric(("media", "memory"), media.memory_hits)
        answers.add_metric(("media", "redis"), media.redis_hits)
        answers.add_metric(("media", "store"), media.store_hits)
        answers.add_metric(("media", "miss"), media.misses)
        answers.add_metric(("texts", "memory"), texts.memory_hits)
        answers.add_metric(("texts", "redis"), texts.redis_hits)
        answers.add_metric(("texts", "miss"), texts.misses)
        yield answers
        yield CounterMetricFamily(
            "manymodal_cache_store_failures",
            "Times the object store failed the cache, which answered all the same.",
            media.store_failures,
        )
        yield from _memory_metrics(media.memory)
        if self._redis is not None:
            yield from _redis_metrics(self._redis.statistics())


def _memory_metrics(memory: CacheStatistics) -> Iterator[Metric]:
    for name, words, value in (
        ("evictions", "Values dropped from memory to make room.", memory.evictions),
        ("expirations", "Values in memory found too old.", memory.expirations),
        ("rejected", "Values larger than the whole memory tier.", memory.rejected),
    ):
        yield CounterMetricFamily(f"manymodal_cache_{name}", words, value)
    for name, words, value in (
        ("entries", "Values held in memory.", memory.entries),
        ("bytes", "Size of the values held in memory.", memory.size_bytes),
        ("max_bytes", "What the memory tier may hold.", memory.max_bytes),
    ):
        yield GaugeMetricFamily(f"manymodal_cache_{name}", words, value)


def _redis_metrics(redis: RedisStatistics) -> Iterator[Metric]:
    for name, words, value in (
        ("hits", "Keys found in Redis.", redis.hits),
        ("misses", "Keys that Redis did not have.", redis.misses),
        ("corrupt", "Values in Redis that failed their checksum.", redis.corrupt),
        ("errors", "Operations that Redis failed, time-outs included.", redis.errors),
        ("timeouts", "Operations that Redis did not answer in time.", redis.timeouts),
        ("skipped", "Operations not tried because Redis had failed.", redis.skipped),
        ("oversized", "Values too large to be sent to Redis.", redis.oversized),
    ):
        yield CounterMetricFamily(f"manymodal_cache_redis_{name}", words, value)
    state = GaugeMetricFamily(
        "manymodal_cache_redis_breaker", "1 for the circuit breaker's state: open means left alone.",
        labels=("state",),
    )  # fmt: skip
    for known in get_args(BreakerState):
        state.add_metric((known,), float(known == redis.state))
    yield state
