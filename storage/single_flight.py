"""Identical concurrent work, done once.

After Go's ``golang.org/x/sync/singleflight``, for asyncio: the work runs in a task of its own, so it
belongs to no caller, and the first caller's cancellation does not take the others' result away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["SingleFlight"]

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class SingleFlight(Generic[T]):
    """Runs ``work`` once per key at a time. Use from one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        """How many keys are being worked on."""
        return len(self._flights)

    def __contains__(self, key: str) -> bool:
        """Whether ``key`` is being worked on."""
        return key in self._flights

    def __iter__(self) -> Iterator[str]:
        """The keys that are being worked on."""
        return iter(tuple(self._flights))

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of ``work``, or of the same key's work already under way.

        An exception of the work reaches every waiter. The work is cancelled when all its waiters are, and
        only then.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(_awaited(work), name="single-flight"))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._forget(key, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done():
                self._forget(key, flight.task)  # a newcomer must not join work that is being cancelled
                flight.task.cancel()

    def _forget(self, key: str, task: asyncio.Task[T]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
