"""Turns at the decoder: tenants share its slots fairly, and a slot is held to the end of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from serving.engine_call import EngineAnswer
from serving.errors import EngineOverloaded
from serving.fair_queue import FairQueue, Turn

__all__ = ["EngineTurns"]

_KEPT_FREE = 4  # a quarter of the slots is for tenants who come while one has all others


class EngineTurns:
    """One per gateway. ``slots`` answers are made at once; four times as many requests may wait."""

    def __init__(self, slots: int) -> None:
        self.queue = FairQueue(slots, max(64, 4 * slots), _full, kept_free=slots // _KEPT_FREE)

    async def answer(
        self,
        tenant: str,
        choices: int,
        wait_seconds: float,
        begin: Callable[[], Awaitable[EngineAnswer]],
    ) -> EngineAnswer:
        """What ``begin`` gives, when it is the tenant's turn. Raises ``EngineOverloaded``, ``RateLimited``."""
        try:
            async with asyncio.timeout(wait_seconds) as limit:
                turn = await self.queue.take(tenant, choices)
        except TimeoutError:
            if limit.expired():
                raise _full() from None
            raise
        try:
            answer = await begin()
        except BaseException:
            turn.release()
            raise
        return EngineAnswer(answer.first, _Held(answer, turn))


class _Held:
    """The rest of an answer, whose turn ends with it."""

    def __init__(self, answer: EngineAnswer, turn: Turn) -> None:
        self._answer = answer
        self._rest = aiter(answer)
        self._turn = turn

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._rest)
        except BaseException:  # its end, or that of who reads it
            self._turn.release()
            raise

    async def aclose(self) -> None:
        try:
            await self._answer.aclose()
        finally:
            self._turn.release()


def _full() -> Exception:
    return EngineOverloaded("The model is busy with other requests. Please try again shortly.")
