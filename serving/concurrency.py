"""Running a few things at once, taking turns, and work that must reach its end or be undone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

__all__ = ["all_of", "in_thread_or_undone", "to_the_end", "turn"]

Result = TypeVar("Result")

_log = logging.getLogger("manymodal.gateway")

# The event loop keeps only weak references to tasks.
_kept: set[asyncio.Task[Any]] = set()


async def all_of(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Results in order. Unlike ``asyncio.gather`` nothing runs on after a failure; no exception group is
    raised.
    """
    tasks = [asyncio.create_task(item) for item in work]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def to_the_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Await ``work``, which no cancellation of the caller cuts short.

    A cancelled caller still waits for the end; one that is cancelled again does not, and the work goes on.
    """
    task = asyncio.create_task(work)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def in_thread_or_undone(work: Callable[[], Result], undo: Callable[[Result], object]) -> Result:
    """The result of ``work`` in a thread. A thread cannot be cancelled: if the caller is, its end is awaited
    and ``undo``, in a thread, takes back what it did. A failure of that is logged.
    """
    working = asyncio.create_task(asyncio.to_thread(work))

    async def take_back() -> None:
        await asyncio.wait({working})
        if working.cancelled() or working.exception() is not None:
            return
        try:
            await asyncio.to_thread(undo, working.result())
        except Exception as error:
            _log.error("What a cancelled request did could not be undone", exc_info=error)

    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await to_the_end(take_back())
        raise


@asynccontextmanager
async def turn(slots: asyncio.Semaphore, timeout_seconds: float, busy: Exception) -> AsyncIterator[None]:
    """Hold one of ``slots``; raise ``busy`` when none gets free in time. The block itself has no time limit."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await slots.acquire()
    except TimeoutError:
        raise busy from None
    try:
        yield
    finally:
        slots.release()
