"""Prometheus metrics of micro-batchers: what to tune batch sizes and waits by."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, Histogram

from encoders.batching.micro_batcher import BatchFacts, BatchObserver

__all__ = ["BatchMetrics"]

_ITEMS = tuple(float(1 << power) for power in range(10))
_COST = tuple(float(4**power) for power in range(14))  # tokens by the hundred, pixels by the million
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class BatchMetrics:
    """Histograms of batch size, cost, waiting and model time, and a gauge of the queue, by modality."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(
                f"manymodal_encoder_{name}", text, ("modality",), registry=registry, buckets=buckets
            )

        self._items = histogram("batch_items", "Items in one run of an encoder.", _ITEMS)
        self._cost = histogram("batch_cost", "Tokens or pixels in one run of an encoder.", _COST)
        self._wait = histogram("wait_seconds", "From an item's arrival until its run begins.", _SECONDS)
        self._service = histogram("service_seconds", "Time of one run of an encoder.", _SECONDS)
        self._queued = Gauge(
            "manymodal_encoder_queue_items",
            "Items that waited for an encoder when its last run ended.",
            ("modality",),
            registry=registry,
        )

    def observer(self, modality: str) -> BatchObserver:
        """What to give to the micro-batcher of that modality (a name of ours, never a client's text)."""
        items, cost = self._items.labels(modality), self._cost.labels(modality)
        wait, service = self._wait.labels(modality), self._service.labels(modality)
        queued = self._queued.labels(modality)

        def observe(facts: BatchFacts) -> None:
            items.observe(facts.items)
            cost.observe(facts.cost)
            for seconds in facts.wait_seconds:
                wait.observe(seconds)
            service.observe(facts.service_seconds)
            queued.set(facts.queued)

        return observe
