"""Memory within the container's limit, and GPUs through NVIDIA's library."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from prometheus_client import CollectorRegistry

from serving.machine_metrics import MachineMetrics


def shown(metrics: MachineMetrics) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(metrics)
    return registry


def test_the_memory_of_a_container(tmp_path: Path):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("800000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300000\n")
    registry = shown(MachineMetrics(tmp_path))
    assert registry.get_sample_value("manymodal_memory_limit_bytes") == 1_000_000
    assert registry.get_sample_value("manymodal_memory_used_bytes") == 500_000


def test_the_memory_of_a_machine(tmp_path: Path):
    for limit in (None, "max\n"):
        if limit is not None:
            (tmp_path / "memory.max").write_text(limit)
        registry = shown(MachineMetrics(tmp_path))
        total = psutil.virtual_memory().total
        assert registry.get_sample_value("manymodal_memory_limit_bytes") == total
        assert 0 < (registry.get_sample_value("manymodal_memory_used_bytes") or 0) < total


class FakeNvml:
    """Two GPUs, of which one may have fallen off the bus, and which may be slices, which tell no use."""

    class NVMLError(Exception):
        """NVIDIA's base class."""

    def __init__(self, lost: int | None = None, sliced: bool = False) -> None:
        self._lost = lost
        self._sliced = sliced

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVIDIA's name
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - NVIDIA's name
        if index == self._lost:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802 - NVIDIA's name
        return SimpleNamespace(used=10 + handle, total=100)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802 - NVIDIA's name
        if self._sliced:
            raise self.NVMLError("not supported")
        return SimpleNamespace(gpu=75)


def test_gpus():
    registry = shown(MachineMetrics(nvml=FakeNvml()))
    assert registry.get_sample_value("manymodal_gpu_utilization_ratio", {"gpu": "0"}) == 0.75
    assert registry.get_sample_value("manymodal_gpu_memory_used_bytes", {"gpu": "1"}) == 11
    assert registry.get_sample_value("manymodal_gpu_memory_total_bytes", {"gpu": "1"}) == 100


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_gpu_takes_no_other_with_it(lost: int, caplog: pytest.LogCaptureFixture):
    registry = shown(MachineMetrics(nvml=FakeNvml(lost)))
    used = [registry.get_sample_value("manymodal_gpu_memory_used_bytes", {"gpu": str(gpu)}) for gpu in (0, 1)]
    assert used[lost] is None
    assert used[1 - lost] == 11 - lost
    assert caplog.text.count("NVMLError") == 1  # however often it is asked


def test_slices_of_a_gpu_tell_their_memory():
    registry = shown(MachineMetrics(nvml=FakeNvml(sliced=True)))
    assert registry.get_sample_value("manymodal_gpu_memory_used_bytes", {"gpu": "1"}) == 11
    assert registry.get_sample_value("manymodal_gpu_utilization_ratio", {"gpu": "0"}) is None
