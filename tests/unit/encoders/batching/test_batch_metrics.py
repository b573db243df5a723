"""Batches are counted by modality."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from encoders.batching.batch_metrics import BatchMetrics
from encoders.batching.micro_batcher import BatchFacts


def test_metrics() -> None:
    registry = CollectorRegistry()
    metrics = BatchMetrics(registry)
    text, image = metrics.observer("text"), metrics.observer("image")
    text(BatchFacts(2, 300, (0.004, 0.2), 0.03, 7))
    text(BatchFacts(1, 20, (0.001,), 0.01, 0))

    def value(name: str, modality: str = "text", **labels: str) -> float | None:
        return registry.get_sample_value(f"manymodal_encoder_{name}", {"modality": modality, **labels})

    assert value("batch_items_count") == 2
    assert value("batch_items_bucket", le="1.0") == 1
    assert value("batch_cost_sum") == 320
    assert value("wait_seconds_count") == 3
    assert value("service_seconds_sum") == 0.04
    assert value("queue_items") == 0
    assert value("batch_items_count", "image") == 0
    image(BatchFacts(1, 1, (0.1,), 0.1, 5))
    assert (value("queue_items", "image"), value("queue_items")) == (5, 0)
