"""What of the machine is used: memory, within the container's limit, and GPUs where there are some."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from encoders.memory_budget import available_bytes

__all__ = ["MachineMetrics"]

_LOG = logging.getLogger(__name__)
_CGROUP = Path("/sys/fs/cgroup")


class MachineMetrics(Collector):
    """Looked up when it is asked for. Without NVIDIA's library or a GPU there are no metrics of GPUs.

    Several replicas of a machine say the same of its GPUs: take the largest.
    """

    def __init__(self, cgroup: Path = _CGROUP, nvml: Any = None) -> None:
        self._cgroup = cgroup
        self._nvml = _started() if nvml is None else nvml
        self._warned = False

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        limit = self._limit_bytes()
        yield GaugeMetricFamily(
            "manymodal_memory_used_bytes",
            "Memory that cannot be had: used by this container, or by the machine without a limit.",
            float(limit - available_bytes(self._cgroup)),
        )
        yield GaugeMetricFamily(
            "manymodal_memory_limit_bytes", "Memory of this container, or of the machine.", float(limit)
        )
        if self._nvml is not None:
            yield from self._gpus(self._nvml)

    def _limit_bytes(self) -> int:
        total = int(psutil.virtual_memory().total)
        try:
            limit = (self._cgroup / "memory.max").read_text(encoding="ascii").strip()
        except OSError:
            return total
        return min(total, int(limit)) if limit.isdigit() else total

    def _gpus(self, nvml: Any) -> Iterator[Metric]:
        busy = GaugeMetricFamily(
            "manymodal_gpu_utilization_ratio", "Share of time in which the GPU computed.", labels=("gpu",)
        )
        used = GaugeMetricFamily(
            "manymodal_gpu_memory_used_bytes", "Memory of the GPU in use.", labels=("gpu",)
        )
        total = GaugeMetricFamily("manymodal_gpu_memory_total_bytes", "Memory of the GPU.", labels=("gpu",))
        for index in self._told(nvml, lambda: range(nvml.nvmlDeviceGetCount())) or ():
            labels = (str(index),)
            handle = self._told(nvml, partial(nvml.nvmlDeviceGetHandleByIndex, index))
            if handle is None:
                continue
            memory = self._told(nvml, partial(nvml.nvmlDeviceGetMemoryInfo, handle))
            if memory is not None:
                used.add_metric(labels, float(memory.used))
                total.add_metric(labels, float(memory.total))
            rates = self._told(nvml, partial(nvml.nvmlDeviceGetUtilizationRates, handle))
            if rates is not None:
                busy.add_metric(labels, rates.gpu / 100)
        yield from (busy, used, total)

    def _told(self, nvml: Any, question: Callable[[], Any]) -> Any:
        """An answer, or nothing: a card may have fallen off the bus, and a slice of one tells no use. Said once."""
        try:
            return question()
        except nvml.NVMLError as error:
            if not self._warned:
                _LOG.warning("A GPU does not say what it does: %s", type(error).__name__)
            self._warned = True
            return None


def _started() -> Any:
    try:
        nvml: Any = importlib.import_module("pynvml")  # of the package nvidia-ml-py
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None  # no driver: no GPU
    return nvml
