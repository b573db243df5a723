"""Counting what tenants use: amounts within a sliding minute, places held, totals. One gateway's own counts.

A minute is 61 buckets of a second each: an amount counts until it is certainly older than 60 seconds, so in no
minute more is let through than the limit, and the time to come back is known to the second.
``serving.limits.shared`` is the same over Redis. (The package ``limits`` was looked at: it needs two round trips
for each limit, takes one limit at a time, and gives nothing back.)
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["WINDOW_SECONDS", "Counts", "LocalCounts", "Places", "Standing", "Taken", "Window"]

WINDOW_SECONDS = 60
_IDLE_KEYS = 10_000  # so many windows and no more are kept of tenants who have gone


@dataclass(frozen=True, slots=True)
class Window:
    """An amount to be taken of what ``key`` may use within a minute."""

    key: str
    limit: int
    cost: int


@dataclass(frozen=True, slots=True)
class Places:
    """A place to be held under ``key`` by ``holder``, for ``lease_seconds`` unless it is renewed."""

    key: str
    limit: int
    holder: str
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How a ``Window`` or ``Places`` stands afterwards. ``wait_seconds``: until it fits (0: it did; infinite: it
    never does); ``reset_seconds``: until nothing counts any more.
    """

    fits: bool
    used: int
    wait_seconds: float
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether all was taken (if one thing does not fit nothing is), at what second of the counter's clock."""

    fits: bool
    second: int
    standings: tuple[Standing, ...]
    shared: bool = False


class Counts(Protocol):
    """What counts. Nothing raises, and nothing takes longer than its store's time limit."""

    async def take(self, wanted: Sequence[Window | Places]) -> Taken:
        """Take all that is wanted, or nothing."""
        ...

    async def change(self, taken: Taken, key: str, amount: int) -> None:
        """Add to (or, negative, give back of) what was taken under ``key``; nothing if that counts no more."""
        ...

    async def release(self, key: str, holder: str) -> None:
        """Let a place go."""
        ...

    async def renew(self, held: Sequence[Places]) -> None:
        """Hold places for another lease."""
        ...

    async def add(self, key: str, limit: int, amount: int) -> tuple[bool, int, float] | None:
        """Add to a total unless it would be over ``limit``; whether it was, the total, and how many seconds ago it
        was set. ``None``: nobody has counted.
        """
        ...

    async def set(self, key: str, total: int) -> None:
        """Set a total that was counted."""
        ...

    async def doubt(self, key: str) -> None:
        """A total may be less by now: it counts as set long ago."""
        ...


@dataclass(slots=True)
class _Used:
    buckets: deque[list[int]] = field(default_factory=deque)  # second, amount; oldest first
    total: int = 0

    def forget(self, second: int) -> None:
        while self.buckets and second - self.buckets[0][0] > WINDOW_SECONDS:
            self.total -= self.buckets.popleft()[1]


class LocalCounts:
    """Counts in memory, for one event loop. ``clock`` gives seconds, and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: dict[str, _Used] = {}
        self._held: dict[str, dict[str, float]] = {}
        self._totals: dict[str, tuple[int, float]] = {}
        self._pruned = -1

    async def take(self, wanted: Sequence[Window | Places]) -> Taken:
        """See ``Counts.take``."""
        now = self._clock()
        second = math.floor(now)
        fits = all(self._fits(one, now) for one in wanted)
        if fits:
            for one in wanted:
                if isinstance(one, Places):
                    self._held[one.key][one.holder] = now + one.lease_seconds
                elif one.cost:
                    self._put(self._used[one.key], second, one.cost)
        standings = tuple(self._standing(one, now, fits) for one in wanted)
        if second != self._pruned and len(self._used) > _IDLE_KEYS:
            self._pruned = second  # looking through all takes a while
            self._prune(second)
        return Taken(fits, second, standings)

    async def change(self, taken: Taken, key: str, amount: int) -> None:
        """See ``Counts.change``."""
        used = self._used.get(key)
        if used is None or not amount:
            return
        for bucket in used.buckets:
            if bucket[0] == taken.second:
                given = max(amount, -bucket[1])
                bucket[1] += given
                used.total += given
                return

    async def release(self, key: str, holder: str) -> None:
        """See ``Counts.release``."""
        held = self._held.get(key, {})
        held.pop(holder, None)
        if not held:
            self._held.pop(key, None)

    async def renew(self, held: Sequence[Places]) -> None:
        """See ``Counts.renew``."""
        now = self._clock()
        for one in held:
            if one.holder in self._held.get(one.key, {}):
                self._held[one.key][one.holder] = now + one.lease_seconds

    async def add(self, key: str, limit: int, amount: int) -> tuple[bool, int, float] | None:
        """See ``Counts.add``."""
        known = self._totals.get(key)
        if known is None:
            return None
        total, at = known
        fits = amount <= 0 or total + amount <= limit
        if fits:
            total = max(0, total + amount)
            self._totals[key] = (total, at)
        return fits, total, self._clock() - at

    async def set(self, key: str, total: int) -> None:
        """See ``Counts.set``."""
        self._totals[key] = (total, self._clock())

    async def doubt(self, key: str) -> None:
        """See ``Counts.doubt``."""
        if key in self._totals:
            self._totals[key] = (self._totals[key][0], -math.inf)

    def _fits(self, one: Window | Places, now: float) -> bool:
        if isinstance(one, Places):
            held = self._held.setdefault(one.key, {})
            for holder in [holder for holder, until in held.items() if until <= now]:
                del held[holder]
            return len(held) < one.limit
        used = self._used.setdefault(one.key, _Used())
        used.forget(math.floor(now))
        return used.total + one.cost <= one.limit

    def _standing(self, one: Window | Places, now: float, taken: bool) -> Standing:
        if isinstance(one, Places):
            held = self._held.get(one.key, {})
            fits = taken or len(held) < one.limit
            standing = Standing(fits, len(held), 0.0 if fits else 1.0, 0.0)
            if not held:
                self._held.pop(one.key, None)
            return standing
        used = self._used[one.key]
        reset = used.buckets[-1][0] + WINDOW_SECONDS + 1 - now if used.total else 0.0
        if taken or used.total + one.cost <= one.limit:
            return Standing(True, used.total, 0.0, reset)
        left = used.total
        for second, amount in used.buckets:
            left -= amount
            if left + one.cost <= one.limit:
                return Standing(False, used.total, second + WINDOW_SECONDS + 1 - now, reset)
        return Standing(False, used.total, math.inf, reset)

    @staticmethod
    def _put(used: _Used, second: int, cost: int) -> None:
        if used.buckets and used.buckets[-1][0] == second:
            used.buckets[-1][1] += cost
        else:
            used.buckets.append([second, cost])
        used.total += cost

    def _prune(self, second: int) -> None:
        for key, used in list(self._used.items()):
            used.forget(second)
            if not used.buckets:
                del self._used[key]
