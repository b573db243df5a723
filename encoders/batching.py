"""A small asyncio micro-batcher: requests that arrive close together share one run of the model.

Ray Serve has one of its own, but it only works inside a replica; this one works wherever there is a loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from encoders.errors import EncoderOverloaded

__all__ = ["MicroBatcher"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Result]


class MicroBatcher(Generic[Item, Result]):
    """Gathers items for ``max_wait_seconds`` or until ``max_batch_size``, then runs them as one batch.

    ``run`` is called with a list in a thread of its own, one batch at a time, and returns as many results in
    the same order. While a batch runs the next one gathers, so under load batches fill by themselves and the
    wait costs nothing. With a batch size of 1 it is a bounded queue. All calls must come from one event loop.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        *,
        max_batch_size: int,
        max_wait_seconds: float,
        max_queued: int,
    ) -> None:
        if max_batch_size < 1 or max_queued < 1:
            raise ValueError("max_batch_size and max_queued must be at least 1")
        self._run = run
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="micro-batcher")
        self._max_batch_size = max_batch_size
        self._max_wait_seconds = max_wait_seconds
        self._max_queued = max_queued
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._full = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """The result for one item. Raises ``EncoderOverloaded`` for a full queue, or what ``run`` raised."""
        if len(self._queue) >= self._max_queued:
            raise EncoderOverloaded("Too much work is queued for this model; try again shortly.")
        waiting = _Waiting[Item, Result](item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if len(self._queue) >= self._max_batch_size:
            self._full.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="micro-batcher")
        try:
            return await waiting.future
        except asyncio.CancelledError:
            if waiting in self._queue:
                self._queue.remove(waiting)  # its place is free for another at once
            raise

    async def aclose(self) -> None:
        """Stop. Whoever still waits gets ``EncoderOverloaded``; the running batch ends in its thread."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._fail_all()
        self._executor.shutdown(wait=False)

    async def _work(self) -> None:
        """Take batches until nothing waits."""
        batch: list[_Waiting[Item, Result]] = []
        try:
            while self._queue:
                if self._max_wait_seconds > 0 and len(self._queue) < self._max_batch_size:
                    await self._gather()
                count = min(len(self._queue), self._max_batch_size)
                batch = [self._queue.popleft() for _ in range(count)]
                if batch:
                    await self._finish(batch)
        except asyncio.CancelledError:
            self._queue.extendleft(reversed(batch))
            self._fail_all()
            raise

    async def _gather(self) -> None:
        """Wait a moment for company."""
        self._full.clear()
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await self._full.wait()
        except TimeoutError:
            pass

    async def _finish(self, batch: list[_Waiting[Item, Result]]) -> None:
        """Run a batch; when it fails, run its items one by one so that a bad one harms nobody else."""
        try:
            results = await self._call([one.item for one in batch])
        except Exception as error:
            if len(batch) == 1:
                _set_error(batch[0].future, error)
                return
            for one in batch:
                if not one.future.done():
                    await self._finish([one])
            return
        for one, result in zip(batch, results, strict=True):
            if not one.future.done():  # cancelled while it ran
                one.future.set_result(result)

    async def _call(self, items: list[Item]) -> Sequence[Result]:
        results = await asyncio.get_running_loop().run_in_executor(self._executor, self._run, items)
        if len(results) != len(items):
            raise RuntimeError(f"the batch function returned {len(results)} results for {len(items)} items")
        return results

    def _fail_all(self) -> None:
        for one in self._queue:
            _set_error(
                one.future, EncoderOverloaded("The model is shutting down; send the request again later.")
            )
        self._queue.clear()


def _set_error(future: asyncio.Future[Result], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
