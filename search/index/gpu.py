"""Indexes on a GPU, where the installed FAISS has any. A GPU index answers one thread at a time."""

from __future__ import annotations

import threading
from typing import Any

import faiss

from search.errors import SearchUnavailable

__all__ = ["GpuIndex", "gpu_count", "on_gpu"]

_GPU_LIMIT = 2048  # of results and of cells, FAISS's own
_WAIT_SECONDS = 30.0


class GpuIndex:
    """A FAISS index in GPU memory, with the methods that ``FaissIndex`` asks of one."""

    def __init__(self, index: Any, resources: Any, host_index: Any) -> None:
        self._index = index
        self._resources = resources  # must outlive the index
        self._host_index = host_index
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host_index, name)  # sizes, cells, the ranking of cells

    def search(self, queries: Any, count: int, params: Any = None) -> Any:
        """One caller at a time: FAISS's GPU indexes share buffers between calls. What is too deep for a GPU is
        answered by the CPU. Raises ``SearchUnavailable`` when it is never one's turn.
        """
        breadth = 1 if params is None else int(params.nprobe)
        if max(count, breadth) > _GPU_LIMIT:
            return self._host_index.search(queries, count, params=params)
        if not self._lock.acquire(timeout=_WAIT_SECONDS):
            raise SearchUnavailable("The GPU is busy with other searches. Try again shortly.")
        try:
            return self._index.search(queries, count, params=params)
        finally:
            self._lock.release()


def gpu_count() -> int:
    """How many GPUs the installed FAISS can use."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def on_gpu(index: Any) -> Any:
    """The index moved to the first GPU, or as it is when there is none or this kind has no GPU form."""
    if gpu_count() == 0:
        return index
    resources = faiss.StandardGpuResources()
    try:
        moved = faiss.index_cpu_to_gpu(resources, 0, index)
    except (RuntimeError, TypeError):  # fast-scan, RaBitQ and graphs stay on the CPU
        return index
    return GpuIndex(moved, resources, index)
