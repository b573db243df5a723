"""A fake encoder for tests of the micro-batcher that can be held up, and a batcher whose model is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from encoders.batching.micro_batcher import BatchObserver, MicroBatcher
from encoders.config import BatchLimits

__all__ = ["FakeEncoder", "Held", "Make", "batchers"]

Eventually = Callable[[Callable[[], bool]], Awaitable[Any]]
Make = Callable[..., tuple["FakeEncoder", MicroBatcher[int, int]]]


class FakeEncoder:
    """Doubles numbers; the bucket is the tens' digit, the cost the number. Fails for negative ones.

    ``go`` holds up the model (``steps`` lets it do one run at a time), ``go_prepare`` the preparing; both note what
    they began with.
    """

    def __init__(self) -> None:
        self.begun: list[list[int]] = []
        self.preparing: list[list[int]] = []
        self.threads: set[int] = set()
        self.steps: threading.Semaphore | None = None
        self.go, self.go_prepare = threading.Event(), threading.Event()
        self.go.set()
        self.go_prepare.set()

    def prepare(self, items: Sequence[int]) -> list[int]:
        self.preparing.append(list(items))
        assert self.go_prepare.wait(10)
        if any(item >= 900 for item in items):
            raise ValueError("cannot be prepared")
        return list(items)

    def bucket(self, prepared: int) -> Hashable:
        return abs(prepared) // 10

    def cost(self, prepared: int) -> int:
        return abs(prepared)

    def run(self, batch: Sequence[int]) -> list[int]:
        self.threads.add(threading.get_ident())
        self.begun.append(list(batch))
        assert self.go.wait(10)
        assert self.steps is None or self.steps.acquire(timeout=10)
        if any(item < 0 for item in batch):
            raise ValueError(f"negative {[item for item in batch if item < 0]}")
        return [2 * item for item in batch]


@asynccontextmanager
async def batchers() -> AsyncIterator[Make]:
    """Makes encoders with their batchers, and closes them in the end."""
    made: list[tuple[FakeEncoder, MicroBatcher[int, int]]] = []

    def build(
        observe: BatchObserver | None = None, timeout: float = 60, **limits: int
    ) -> tuple[FakeEncoder, MicroBatcher[int, int]]:
        encoder = FakeEncoder()
        made.append((encoder, MicroBatcher(encoder, BatchLimits(**limits), observe, timeout_seconds=timeout)))
        return made[-1]

    yield build
    for encoder, batcher in made:
        encoder.go.set()
        encoder.go_prepare.set()
        await batcher.aclose()


class Held:
    """A batcher whose model is busy with ``[0]`` until ``release``."""

    def __init__(self, encoder: FakeEncoder, batcher: MicroBatcher[int, int], eventually: Eventually) -> None:
        self.encoder, self.batcher, self._eventually = encoder, batcher, eventually

    async def __aenter__(self) -> Held:
        self.encoder.go.clear()
        self.first = asyncio.create_task(self.batcher.submit([0]))
        await self._eventually(lambda: self.encoder.begun == [[0]])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.encoder.go.set()
        await asyncio.gather(self.first, return_exceptions=True)

    async def _prepared_since(self, before: int) -> None:
        queue = self.batcher._queue
        await self._eventually(lambda: len(self.encoder.preparing) > before)
        await self._eventually(lambda: queue.lined_up == queue.queued)

    async def waiting(self, *calls: Sequence[int]) -> list[asyncio.Task[list[int]]]:
        """Submit calls one after another; each is prepared when this returns."""
        tasks = []
        for items in calls:
            before = len(self.encoder.preparing)
            tasks.append(asyncio.create_task(self.batcher.submit(items)))
            await self._prepared_since(before)
        return tasks
