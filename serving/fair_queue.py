"""Turns at what is scarce, shared fairly between tenants: whoever holds least is next."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from serving.errors import RateLimited

__all__ = ["FairQueue", "Turn"]

_ACTIVE_SECONDS = 60.0  # so long after its last request a tenant is expected again


class Turn:
    """Slots that are held until ``release``."""

    def __init__(self, queue: FairQueue, tenant: str, cost: int) -> None:
        self._queue: FairQueue | None = queue
        self._tenant = tenant
        self._cost = cost

    def release(self) -> None:
        """Let go; again does nothing."""
        if self._queue is not None:
            queue, self._queue = self._queue, None
            queue._let_go(self._tenant, self._cost)


class FairQueue:
    """``slots`` for all. Each tenant waits in a line of its own. Whoever holds fewest slots is next, among equals
    the one that was served longest ago (max-min fairness; D. Bertsekas, R. Gallager, "Data Networks"). While
    others are about, nobody who holds all but ``kept_free`` slots gets more: a newcomer does not wait for somebody
    else's long answers.

    A tenant whose line is longer than ``waiting_per_tenant`` is refused with 429. With more than ``waiting`` in all
    lines whoever came last in the longest gives way to one of a shorter line (P. McKenney, "Stochastic Fairness
    Queueing"): several noisy tenants keep no other from waiting. Who has the longest line gets ``full``. Use from
    one event loop.
    """

    def __init__(
        self,
        slots: int,
        waiting: int,
        full: Callable[[], Exception],
        *,
        waiting_per_tenant: int | None = None,
        kept_free: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = slots
        self.on_turn: Callable[[float], None] | None = None  # told how long each turn was waited for
        self._free = slots
        self._waiting = waiting
        self._per_tenant = waiting * 3 // 4 if waiting_per_tenant is None else waiting_per_tenant
        self._kept_free = kept_free
        self._full = full
        self._clock = clock
        self._held: dict[str, int] = {}
        self._lines: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}  # longest ago served first
        self._count = 0
        self._seen: dict[str, float] = {}

    async def take(self, tenant: str, cost: int = 1) -> Turn:
        """Wait for ``cost`` slots (no more than there are). Raises ``RateLimited`` or ``full``'s at once."""
        cost = min(cost, self._share(tenant))
        self._note(tenant)
        if not self._lines and self._fits(tenant, cost):
            self._hold(tenant, cost)
            if self.on_turn is not None:
                self.on_turn(0.0)
            return Turn(self, tenant, cost)
        line = self._lines.get(tenant)
        own_fault = len(line) >= self._per_tenant if line else cost <= self._free
        if own_fault and (line or self._count >= self._waiting):
            raise _too_many()
        if self._count >= self._waiting and not self._gives_way(1 + len(line or ())):
            raise self._full()
        if line is None:
            line = self._lines[tenant] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (cost, turn)
        line.append(entry)
        self._count += 1
        since = self._clock()
        self._next()  # whoever holds less than those that wait need not
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                if turn.exception() is None:  # else it gave way, and holds nothing
                    self._let_go(tenant, cost)
            else:
                if entry in self._lines.get(tenant, ()):
                    self._leave(tenant, entry)
                self._next()
            raise
        if self.on_turn is not None:
            self.on_turn(self._clock() - since)
        return Turn(self, tenant, cost)

    @asynccontextmanager
    async def turn(self, tenant: str, cost: int = 1) -> AsyncIterator[None]:
        """Hold slots within the block."""
        taken = await self.take(tenant, cost)
        try:
            yield
        finally:
            taken.release()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._count

    @property
    def held(self) -> int:
        """How many slots are held now."""
        return self.slots - self._free

    def _note(self, tenant: str) -> None:
        now = self._clock()
        self._seen[tenant] = now
        if len(self._seen) > 1:
            oldest = next(iter(self._seen))
            if now - self._seen[oldest] > _ACTIVE_SECONDS:
                del self._seen[oldest]
        self._seen[tenant] = self._seen.pop(tenant)  # the latest stands last

    def _share(self, tenant: str) -> int:
        """How many slots a tenant may hold now."""
        now = self._clock()
        for other in reversed(self._seen):
            if other != tenant:
                if now - self._seen[other] <= _ACTIVE_SECONDS:
                    return max(1, self.slots - self._kept_free)
                break
        return self.slots

    def _fits(self, tenant: str, cost: int) -> bool:
        held = self._held.get(tenant, 0)
        return cost <= self._free and (not held or held + cost <= self._share(tenant))

    def _hold(self, tenant: str, cost: int) -> None:
        self._free -= cost
        self._held[tenant] = self._held.get(tenant, 0) + cost

    def _let_go(self, tenant: str, cost: int) -> None:
        self._free += cost
        left = self._held[tenant] - cost
        if left:
            self._held[tenant] = left
        else:
            del self._held[tenant]
        self._next()

    def _next(self) -> None:
        while self._lines and self._free > 0:
            tenant = min(self._lines, key=lambda one: self._held.get(one, 0))
            cost, turn = self._lines[tenant][0]
            if turn.cancelled():  # whoever waited is about to leave
                self._leave(tenant, self._lines[tenant][0])
                continue
            if not self._fits(tenant, cost):
                # Many slots at once are waited for: whoever wants fewer must not always be faster.
                return
            self._leave(tenant, self._lines[tenant][0], served=True)
            self._hold(tenant, cost)
            turn.set_result(None)

    def _gives_way(self, length: int) -> bool:
        """Make room for somebody whose line will be ``length`` long, if another is longer than that."""
        if not self._lines:
            return False
        tenant = max(self._lines, key=lambda one: len(self._lines[one]))
        if len(self._lines[tenant]) <= length:
            return False
        entry = self._lines[tenant][-1]
        self._leave(tenant, entry)
        if not entry[1].done():
            entry[1].set_exception(_too_many())
        return True

    def _leave(self, tenant: str, entry: tuple[int, asyncio.Future[None]], *, served: bool = False) -> None:
        line = self._lines[tenant]
        line.remove(entry)
        self._count -= 1
        if not line:
            del self._lines[tenant]
        elif served:
            self._lines[tenant] = self._lines.pop(tenant)


def _too_many() -> RateLimited:
    return RateLimited(
        "Too many of your requests are under way or waiting already. Please try again when some of them "
        "have ended.",
        2,
    )
