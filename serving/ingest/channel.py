"""A bounded queue between two stages that knows its end."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

__all__ = ["Channel"]

T = TypeVar("T")


class _End:
    """After the last element."""


class Channel(Generic[T]):
    """Holds at most ``size`` elements; ``put`` waits for room. Any number of producers and consumers."""

    def __init__(self, size: int) -> None:
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue(size)
        self._ended = False

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return self._ended or self._queue.empty()

    async def put(self, element: T) -> None:
        """Add an element."""
        await self._queue.put(element)

    async def close(self) -> None:
        """Nothing comes any more. Every consumer is told."""
        await self._queue.put(_End())

    async def take(self, most: int = 1) -> list[T]:
        """The next element, once there is one, with up to ``most`` in all of those that wait; none at the end."""
        if self._ended:
            return []
        taken: list[T] = []
        element = await self._queue.get()
        while not isinstance(element, _End):
            taken.append(element)
            if len(taken) == most or self._queue.empty():
                return taken
            element = self._queue.get_nowait()
        self._ended = True
        self._queue.put_nowait(element)  # for consumers that wait
        return taken
