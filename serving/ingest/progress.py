"""Which items of a list have ended: all below a number, and ranges above it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

__all__ = ["Progress"]


class Progress:
    """Counts ends, in any order, and holds back items that are far ahead. Use from one event loop."""

    def __init__(self, below: int = 0, above: Iterable[tuple[int, int]] = (), window: int = 10_000) -> None:
        self._below = below
        self._above = {number for first, end in above for number in range(first, end)}
        self._window = window
        self._moved = asyncio.Event()

    @property
    def below(self) -> int:
        """All items before this one have ended."""
        return self._below

    def above(self) -> tuple[tuple[int, int], ...]:
        """Ranges (first, after the last) of those that have ended beyond."""
        ranges: list[tuple[int, int]] = []
        for number in sorted(self._above):
            if ranges and ranges[-1][1] == number:
                ranges[-1] = (ranges[-1][0], number + 1)
            else:
                ranges.append((number, number + 1))
        return tuple(ranges)

    def has_ended(self, number: int) -> bool:
        """Whether an item has."""
        return number < self._below or number in self._above

    def end(self, numbers: Iterable[int]) -> None:
        """These have ended."""
        self._above.update(number for number in numbers if number >= self._below)
        while self._below in self._above:
            self._above.remove(self._below)
            self._below += 1
        self._moved.set()

    async def room_for(self, number: int) -> None:
        """Wait until an item is within the window."""
        while number >= self._below + self._window:
            self._moved.clear()
            await self._moved.wait()
