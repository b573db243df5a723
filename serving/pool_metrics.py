"""The calls of deployments from one gateway, and their breakers, as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.breaker import BreakerState
from serving.services import Pools

__all__ = ["PoolMetrics"]


class PoolMetrics(Collector):
    """Names of deployments are the profile's."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        calls = CounterMetricFamily(
            "manymodal_pool_calls",
            "Calls of deployments by how they ended.",
            labels=("deployment", "outcome"),
        )
        retries = CounterMetricFamily(
            "manymodal_pool_retries", "Calls made again because a replica was lost.", labels=("deployment",)
        )
        ongoing = GaugeMetricFamily(
            "manymodal_pool_ongoing_calls", "Calls of deployments that are under way.", labels=("deployment",)
        )
        breakers = GaugeMetricFamily(
            "manymodal_pool_breaker",
            "1 for the circuit breaker's state: open means left alone.",
            labels=("deployment", "state"),
        )
        for name, seen in self._pools.calls().items():
            for outcome, count in seen.outcomes.items():
                calls.add_metric((name, outcome), count)
            retries.add_metric((name,), seen.retried)
            ongoing.add_metric((name,), seen.ongoing)
            for state in get_args(BreakerState):
                breakers.add_metric((name, state), float(state == seen.breaker))
        yield from (calls, retries, ongoing, breakers)
