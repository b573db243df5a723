"""What the gateway counts. One ``GatewayMetrics`` per app on a registry of its own; no global state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from storage.derived import DerivedCache

__all__ = ["GatewayMetrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class GatewayMetrics:
    """Counters and histograms of one gateway. Label values never come from a client's text."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
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
        self.stage = Histogram(
            "manymodal_stage_duration_seconds",
            "Time spent per stage of a request.",
            ("stage",),
            buckets=_SECONDS,
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
            "manymodal_errors", "Requests that ended in an error, by code.", ("code",), registry=self.registry
        )

    def watch(self, derived: DerivedCache) -> None:
        """Show ``derived``'s own statistics among the metrics."""
        self.registry.register(_DerivedCacheCollector(derived))

    @contextmanager
    def time_stage(self, stage: str) -> Iterator[None]:
        """Observe the duration of a ``with`` block as ``stage``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stage.labels(stage).observe(time.perf_counter() - started)

    def count_usage(self, prompt_tokens: object, completion_tokens: object) -> None:
        """Add an answer's token counts; what is not a number is left out."""
        for direction, amount in (("prompt", prompt_tokens), ("completion", completion_tokens)):
            if isinstance(amount, int) and amount >= 0:
                self.tokens.labels(direction).inc(amount)

    def exposition(self) -> bytes:
        """All metrics in Prometheus text format."""
        return generate_latest(self.registry)


class _DerivedCacheCollector(Collector):
    """What the cache counts itself. Its look-ups by tier are left out: ``manymodal_cache_lookups`` has them."""

    def __init__(self, derived: DerivedCache) -> None:
        self._derived = derived

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        counts = self._derived.statistics()
        memory = counts.memory
        for name, words, value in (
            ("store_failures", "Times the object store failed the cache, which answered all the same.",
             counts.store_failures),
            ("evictions", "Results dropped from memory to make room.", memory.evictions),
            ("rejected", "Results larger than the whole memory tier.", memory.rejected),
        ):  # fmt: skip
            yield CounterMetricFamily(f"manymodal_cache_{name}", words, value)
        for name, words, value in (
            ("entries", "Results held in memory.", memory.entries),
            ("bytes", "Size of the results held in memory.", memory.size_bytes),
            ("max_bytes", "What the memory tier may hold.", memory.max_bytes),
        ):
            yield GaugeMetricFamily(f"manymodal_cache_{name}", words, value)
