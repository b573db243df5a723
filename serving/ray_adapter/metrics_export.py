"""A replica's Prometheus metrics mirrored into Ray's, which one agent on each node offers to Prometheus.

Replicas come and go on ports and nodes that nobody knows beforehand; the agents do not. Every sample (a counter's
total, a histogram's bucket with its ``le``, sum and count) becomes a gauge of Ray's of the same name, so that the
values are exactly those of the replica: Ray's own histograms can only be fed observation by observation, and Ray's
counters only by differences, while its gauges are also forgotten within seconds of a replica's end. Whoever scrapes
sees ``ray_NAME`` with the labels ``pool`` and ``replica``; ``deploy/grafana/prometheus.yml`` takes ``ray_``
off.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from ray.util.metrics import Gauge

__all__ = ["MetricsExport"]

_LOG = logging.getLogger(__name__)
_OURS = ("manymodal_", "vllm:", "process_")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


class _Gauge(Protocol):
    def set(self, value: float, tags: dict[str, str]) -> None: ...


class MetricsExport:
    """One per replica: copies all registries every ``period_seconds``, from a thread of its own."""

    def __init__(
        self,
        deployment: str,
        replica: str,
        period_seconds: float,
        make_gauge: Callable[[str, str, tuple[str, ...]], _Gauge] = Gauge,
    ) -> None:
        self._own = {"pool": deployment, "replica": replica}  # calls are counted by the "deployment" they ask
        self._period_seconds = period_seconds
        self._make_gauge = make_gauge
        self._registries: list[CollectorRegistry] = []
        self._gauges: dict[tuple[str, tuple[str, ...]], _Gauge] = {}
        self._stopped = threading.Event()
        self._failed = False

    def add(self, registry: CollectorRegistry) -> None:
        """Copy this registry, too."""
        self._registries.append(registry)

    def start(self) -> None:
        """Copy from now on, for as long as the process lives or until ``stop``."""
        threading.Thread(target=self._run, name="metrics-export", daemon=True).start()

    def stop(self) -> None:
        """Copy no more."""
        self._stopped.set()

    def copy(self) -> None:
        """Copy everything once."""
        for registry in tuple(self._registries):
            for family in registry.collect():
                if family.name.startswith(_OURS):
                    self._copy(family.samples, family.documentation)

    def _copy(self, samples: Iterable[Any], words: str) -> None:
        for sample in samples:
            if sample.name.endswith("_created"):
                continue
            tags = {**sample.labels, **self._own}
            name = _NOT_IN_NAMES.sub("_", sample.name)
            key = (name, tuple(tags))
            gauge = self._gauges.get(key)
            if gauge is None:
                gauge = self._gauges[key] = self._make_gauge(name, words, tuple(tags))
            gauge.set(sample.value, tags)

    def _run(self) -> None:
        while not self._stopped.wait(self._period_seconds):
            try:
                self.copy()
                self._failed = False
            except Exception as error:
                # Metrics must not end a replica, and a failure that lasts is said once.
                if not self._failed:
                    _LOG.warning("Metrics are not exported: %s", type(error).__name__, exc_info=error)
                self._failed = True
