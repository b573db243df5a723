"""The mirror into Ray's metrics: every sample, exactly, with the replica it is of."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from fake_ray import exceptions  # noqa: F401 - Ray's modules warn while they are imported
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from serving.ray_adapter.metrics_export import MetricsExport


class FakeGauges:
    """Ray's gauges: the last value by name and labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self.changed = threading.Event()

    def make(self, name: str, words: str, tags: tuple[str, ...]) -> FakeGauge:
        return FakeGauge(self, name, tags)


class FakeGauge:
    def __init__(self, gauges: FakeGauges, name: str, tags: tuple[str, ...]) -> None:
        self._gauges, self._name, self._tags = gauges, name, tags

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == self._tags
        self._gauges.values[self._name, tuple(sorted(tags.items()))] = value
        self._gauges.changed.set()


def labels(**more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"pool": "engine", "replica": "r1", **more}.items()))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_all_kinds_of_metrics(registry: CollectorRegistry):
    Counter("manymodal_things", "Things.", ("kind",), registry=registry).labels("good").inc(3)
    Gauge("vllm:kv_cache_usage_perc", "Use.", registry=registry).set(0.5)
    Histogram("manymodal_wait_seconds", "Wait.", buckets=(0.1, 1.0), registry=registry).observe(0.5)
    Gauge("other", "Of somebody else.", registry=registry).set(1)
    gauges = FakeGauges()
    export = MetricsExport("engine", "r1", 5, gauges.make)
    export.add(registry)
    export.copy()
    assert gauges.values == {
        ("manymodal_things_total", labels(kind="good")): 3,
        ("vllm_kv_cache_usage_perc", labels()): 0.5,
        ("manymodal_wait_seconds_bucket", labels(le="0.1")): 0,
        ("manymodal_wait_seconds_bucket", labels(le="1.0")): 1,
        ("manymodal_wait_seconds_bucket", labels(le="+Inf")): 1,
        ("manymodal_wait_seconds_count", labels()): 1,
        ("manymodal_wait_seconds_sum", labels()): 0.5,
    }


class FailsOnce(Collector):
    """A collector with a bad day."""

    def __init__(self) -> None:
        self.asked = 0

    def collect(self) -> Iterator[Metric]:
        self.asked += 1
        if self.asked == 1:
            raise OSError("disk")
        yield from ()


def test_a_failure_does_not_end_it(registry: CollectorRegistry, caplog):
    Counter("manymodal_things", "Things.", registry=registry)
    bad = CollectorRegistry(auto_describe=False)
    bad.register(failing := FailsOnce())
    gauges = FakeGauges()
    export = MetricsExport("engine", "r1", 0.01, gauges.make)
    export.add(bad)
    export.add(registry)
    export.start()
    assert gauges.changed.wait(30)
    export.stop()
    assert failing.asked >= 2
    assert caplog.text.count("Metrics are not exported: OSError") == 1
