"""Where models run: the choice, and the way of arrays to the device (on the CPU; tests/gpu has the other)."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.errors import ModelUnavailable
from encoders.torch_device import Placement, padded_size, placement


def test_the_cpu_computes_in_float32() -> None:
    import torch

    chosen = placement("cpu")
    assert chosen == Placement("cpu", "float32")
    assert chosen.torch_dtype is torch.float32
    assert not chosen.on_gpu


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert placement("auto").device == "cpu"
    with pytest.raises(ModelUnavailable, match="sees no GPU"):
        placement("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert placement("auto") == Placement("cuda", "bfloat16")
    assert placement("cuda:1", compiled=True) == Placement("cuda:1", "bfloat16", compiled=True)
    assert placement("cpu").device == "cpu"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert placement("auto").dtype == "float32"  # never float16


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ModelUnavailable, match="'tpu'"):
        placement("tpu")


def test_staged_arrays_land_joined_and_in_order() -> None:
    cpu = Placement("cpu", "float32")
    arrays = [np.full((count, 2), count, dtype=np.uint8) for count in (1, 3, 2)]
    landed = cpu.land([cpu.stage(array) for array in arrays])
    np.testing.assert_array_equal(landed.numpy(), np.concatenate(arrays))


def test_modules_are_placed_for_inference() -> None:
    import torch

    layer = torch.nn.Linear(2, 2).double().train()
    assert Placement("cpu", "float32").place(layer) is layer
    assert layer.weight.dtype is torch.float32
    assert not layer.training
    assert not layer.weight.requires_grad


def test_a_model_too_large_for_the_gpu_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 20, 1 << 30))
    with pytest.raises(ModelUnavailable, match="take 2 MiB of the GPU's memory and 1 MiB are free"):
        Placement("cuda", "bfloat16").place(torch.nn.Linear(1024, 1024))


def test_nothing_is_compiled_unless_asked() -> None:
    assert Placement("cpu", "float32").compile(len) is len


@pytest.mark.parametrize(
    ("count", "largest", "padded"), [(0, 8, 0), (1, 8, 1), (3, 8, 4), (5, 6, 6), (8, 8, 8), (20, 8, 20)]
)
def test_batches_are_padded_to_few_sizes(count: int, largest: int, padded: int) -> None:
    assert padded_size(count, largest) == padded


def test_the_replicas_threads_reach_torch() -> None:
    """Ray sets OMP_NUM_THREADS to 1 where no processors are reserved."""
    import torch

    before = torch.get_num_threads()
    try:
        placement("cpu", threads=1)
        assert torch.get_num_threads() == 1
        placement("cpu", threads=2)
        placement("cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
