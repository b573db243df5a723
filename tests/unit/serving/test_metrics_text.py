"""What ``/metrics`` joins is one valid exposition."""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from encoders.batching.batch_metrics import BatchMetrics
from encoders.batching.micro_batcher import BatchFacts
from serving.metrics import GatewayMetrics


def test_every_metric_is_explained_once() -> None:
    gateway, registry = GatewayMetrics(), CollectorRegistry()
    gateway.requests.labels("/v1/embeddings", "text", "200").inc()
    batches = BatchMetrics(registry)
    for modality in ("text", "image", "ocr", "speech"):
        batches.observer(modality)(BatchFacts(2, 7, (0.1, 0.2), 0.3, 0))
    text = (gateway.exposition() + generate_latest(registry)).decode()
    explained = Counter(line.split()[2] for line in text.splitlines() if line.startswith("# TYPE"))
    assert set(explained.values()) == {1}
    samples = Counter(
        (sample.name, *sorted(sample.labels.items()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )
    assert set(samples.values()) == {1}
    assert ("manymodal_encoder_wait_seconds_count", ("modality", "ocr")) in samples
