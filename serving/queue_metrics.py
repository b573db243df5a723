"""How long requests wait for their turn, and how many do now, by queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.fair_queue import FairQueue

__all__ = ["QueueMetrics"]

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class QueueMetrics(Collector):
    """The fair queues of one gateway. Names of queues are ours."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queues: dict[str, FairQueue] = {}
        self._wait = Histogram(
            "manymodal_queue_wait_seconds",
            "How long requests waited for their turn, nothing for those that came at once.",
            ("queue",),
            buckets=_SECONDS,
            registry=registry,
        )
        registry.register(self)

    def watch(self, name: str, queue: FairQueue) -> None:
        """Show what ``queue`` does."""
        self._queues[name] = queue
        observe: Callable[[float], None] = self._wait.labels(name).observe
        queue.on_turn = observe

    @property
    def queues(self) -> Mapping[str, FairQueue]:
        """All that are watched, by name."""
        return self._queues

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        waiting, held, slots = (
            GaugeMetricFamily(f"manymodal_queue_{name}", words, labels=("queue",))
            for name, words in (
                ("waiting", "Requests that wait for their turn."),
                ("held", "Turns that are held."),
                ("slots", "Turns there are."),
            )
        )
        for name, queue in self._queues.items():
            waiting.add_metric((name,), queue.waiting)
            held.add_metric((name,), queue.held)
            slots.add_metric((name,), queue.slots)
        yield from (waiting, held, slots)
