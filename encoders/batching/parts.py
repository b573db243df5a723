"""One at a time, with what is ready given out before the rest is made (transcribing, speaking)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from encoders.batching.micro_batcher import BatchObserver
from encoders.batching.turns import OneAtATime

__all__ = ["InParts"]

Item = TypeVar("Item")
Part = TypeVar("Part")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Work(Generic[Item, Part]):
    item: Item
    tell: Callable[[Part], None]
    left: threading.Event = field(default_factory=threading.Event)


class InParts(Generic[Item, Part, Result]):
    """Calls ``run`` for one item after another, first come first served, in a thread of its own.

    ``run`` gets the item and a function that it tells each part as soon as it is there, and which answers whether
    anybody still wants more: a cancelled caller frees the thread after the part that is under way. All calls must
    come from one event loop.
    """

    def __init__(
        self,
        run: Callable[[Item, Callable[[Part], bool]], Result],
        max_queued: int,
        observe: BatchObserver | None = None,
    ) -> None:
        self._run = run
        self._turns: OneAtATime[_Work[Item, Part], Result] = OneAtATime(self._work, max_queued, observe)

    @property
    def waiting_seconds(self) -> float:
        """For how long the first that waits for its turn has waited; 0 while nobody does."""
        return self._turns.waiting_seconds

    async def result(self, item: Item) -> Result:
        """What ``run`` returns, or raises; parts are told to nobody. Raises as ``OneAtATime.submit``."""
        return await self._submit(_Work(item, lambda _: None))

    async def parts(self, item: Item) -> AsyncGenerator[Part, None]:
        """The parts of ``item`` as they come, then what ``run`` raised. Closing the iterator ends the work."""
        loop = asyncio.get_running_loop()
        # The model does not wait for slow readers, behind whom others queue: this holds at most all of one result,
        # whose size the item's limits bound.
        parts: asyncio.Queue[tuple[Part] | None] = asyncio.Queue()

        def tell(part: Part) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(parts.put_nowait, (part,))

        working = asyncio.create_task(self._submit(_Work(item, tell)))
        working.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            while (told := await parts.get()) is not None:
                yield told[0]
            working.result()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def check_alive(self, item: Item, timeout_seconds: float, silence_seconds: float) -> None:
        """Return once ``item`` is done, or while another is under way that has begun, or given a part, within
        ``silence_seconds``. Raises as ``MicroBatcher.check_alive``.
        """
        await self._turns.check_alive(_Work(item, lambda _: None), timeout_seconds, silence_seconds)

    async def aclose(self) -> None:
        """Stop; see ``OneAtATime.aclose``."""
        await self._turns.aclose()

    async def _submit(self, work: _Work[Item, Part]) -> Result:
        try:
            return await self._turns.submit(work)
        finally:
            work.left.set()

    def _work(self, work: _Work[Item, Part]) -> Result:
        """In the thread."""

        def tell(part: Part) -> bool:
            self._turns.gets_on()
            if not work.left.is_set():
                work.tell(part)
            return not work.left.is_set()

        return self._run(work.item, tell)
