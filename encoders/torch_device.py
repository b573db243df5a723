"""Where a torch model runs and in what precision: one choice shared by every torch model.

A GPU gets bfloat16 (float32's range, so no model overflows; EmbeddingGemma does in float16) and scaled-dot-product
attention; the CPU stays float32, in which AVX2 is four times faster than in bfloat16. Nothing here imports torch
before a ``Placement`` is asked for, so model files may import this module.

Prefetch: ``stage`` copies a prepared array into page-locked memory and starts its copy to the GPU on a side stream
from the preparing thread, while the batch before it still runs; ``land`` makes the running stream wait for
that copy alone. On the CPU both hand the array over without a copy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from encoders.errors import ModelUnavailable

if TYPE_CHECKING:
    import torch

__all__ = ["Placement", "Staged", "padded_size", "placement"]

_Module = TypeVar("_Module")


@dataclass(frozen=True, slots=True)
class Staged:
    """An array on its way to the device: the tensor, and the event that says it has arrived (None: it is there)."""

    tensor: torch.Tensor
    arrived: Any = None


@dataclass(frozen=True)
class Placement:
    """A device (``cpu`` or ``cuda``), a precision (``float32`` or ``bfloat16``), and whether to compile.

    ``compiled`` asks for ``torch.compile(mode="reduce-overhead")``, that is fused kernels replayed as CUDA graphs.
    Every new batch shape is captured again, so whoever sets it pads its batches (``padded_size``).
    """

    device: str
    dtype: str
    compiled: bool = False
    _streams: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device != "cpu"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        import torch

        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32

    def place(self, module: _Module) -> _Module:
        """Move a module there in its precision, ready for inference. Gives the same module.

        Raises ``ModelUnavailable`` when the GPU has no room for its weights.
        """
        placed: Any = module
        if self.on_gpu:
            self._check_room(sum(one.numel() for one in (*placed.parameters(), *placed.buffers())))
        placed.requires_grad_(False)
        placed.eval()
        placed.to(device=self.device, dtype=self.torch_dtype)
        return module

    def _check_room(self, numbers: int) -> None:
        """Hold a model's weights against what the GPU has free."""
        import torch

        wanted_bytes = numbers * self.torch_dtype.itemsize
        free_bytes = torch.cuda.mem_get_info(self.device)[0]
        if wanted_bytes > free_bytes:
            raise ModelUnavailable(
                f"The model's weights take {wanted_bytes >> 20} MiB of the GPU's memory and {free_bytes >> 20} MiB "
                "are free. Choose a smaller model, free memory, or set encoders.device to 'cpu'."
            )

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function compiled for replay as CUDA graphs where that was asked for, else as it is."""
        if not self.compiled:
            return function
        import torch

        mode = "reduce-overhead" if self.on_gpu else "default"
        compiled: Callable[..., Any] = torch.compile(function, mode=mode, dynamic=False)
        return compiled

    def stage(self, array: NDArray[Any]) -> Staged:
        """Start moving an array to the device. Called by preparing threads, each of which has its own stream."""
        import torch

        host = torch.from_numpy(np.ascontiguousarray(array))
        if not self.on_gpu:
            return Staged(host)
        stream = getattr(self._streams, "side", None)
        if stream is None:
            stream = self._streams.side = torch.cuda.Stream(self.device)
        with torch.cuda.stream(stream):
            # The caching host allocator keeps the page-locked block until this copy is over.
            tensor = host.pin_memory().to(self.device, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(stream)
        return Staged(tensor, arrived)

    def land(self, staged: Sequence[Staged]) -> torch.Tensor:
        """Staged arrays joined along their first axis, on the device, ready for the stream that runs now."""
        import torch

        for one in staged:
            if one.arrived is not None:
                running = torch.cuda.current_stream(self.device)
                running.wait_event(one.arrived)
                # Made on another stream: its memory must not be reused before this stream is done with it.
                one.tensor.record_stream(running)
        return torch.cat([one.tensor for one in staged])

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A small host tensor (token ids, masks) on the device, without waiting for it."""
        if not self.on_gpu:
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def placement(device: str = "auto", compiled: bool = False, threads: int | None = None) -> Placement:
    """The placement for a configured device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.

    bfloat16 on GPUs that compute in it (Ampere and later), float32 elsewhere: never float16. Raises
    ``ModelUnavailable`` when ``cuda`` is asked for and there is none.

    ``threads`` is how many the whole process's torch uses on the CPU: in a replica without reserved processors Ray
    leaves it one.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    if device not in ("auto", "cpu") and device.split(":")[0] != "cuda":
        raise ModelUnavailable(f"There is no device '{device}'; use 'auto', 'cpu' or 'cuda'.")
    has_gpu = device != "cpu" and torch.cuda.is_available()
    if not has_gpu:
        if device not in ("auto", "cpu"):
            raise ModelUnavailable(
                "The device 'cuda' is configured, but this machine's torch sees no GPU; set the device to 'auto'."
            )
        return Placement("cpu", "float32", compiled)
    computes_bfloat16 = torch.cuda.get_device_capability()[0] >= 8
    name = "cuda" if device == "auto" else device
    return Placement(name, "bfloat16" if computes_bfloat16 else "float32", compiled)


def padded_size(count: int, largest: int) -> int:
    """The batch size to pad ``count`` items to so that few shapes are captured: the next power of two."""
    if count >= largest:
        return count
    return min(largest, 1 << (count - 1).bit_length()) if count > 0 else 0
