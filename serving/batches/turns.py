"""Turns of tenants at something of which only so much may happen at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["TenantTurns"]


class TenantTurns:
    """So many turns at once. When all are taken, the next free one goes to the tenant that has waited longest since
    its last one, however many others ask for. Use from one event loop; who waits can be cancelled.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Hold a turn within the block. How long one waits is the caller's to limit."""
        await self._take(tenant)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, tenant: str) -> None:
        if self._free:
            self._free -= 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._give_back()  # it was given just now
            raise

    def _give_back(self) -> None:
        while self._waiting:
            tenant, queue = self._waiting.popitem(last=False)
            while queue and queue[0].done():
                queue.popleft()  # cancelled while it waited
            if not queue:
                continue
            queue.popleft().set_result(None)
            if queue:
                self._waiting[tenant] = queue
            return
        self._free += 1
