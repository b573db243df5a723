"""What a real GPU says of itself through NVIDIA's library."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from serving.machine_metrics import MachineMetrics


@pytest.fixture(autouse=True)
def _gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU: torch sees no CUDA device on this machine")
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: it comes with the extra gpu")


def test_memory_that_is_taken_is_seen():
    import torch

    registry = CollectorRegistry()
    registry.register(MachineMetrics())

    def used() -> float:
        return registry.get_sample_value("manymodal_gpu_memory_used_bytes", {"gpu": "0"}) or 0.0

    torch.zeros(1, device="cuda")
    before = used()
    kept = torch.zeros(1 << 30, dtype=torch.uint8, device="cuda")
    assert used() - before >= 1 << 29
    assert used() <= (registry.get_sample_value("manymodal_gpu_memory_total_bytes", {"gpu": "0"}) or 0.0)
    assert 0 <= (registry.get_sample_value("manymodal_gpu_utilization_ratio", {"gpu": "0"}) or 0.0) <= 1
    del kept
