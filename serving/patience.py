"""A time limit that who is cancelled by it can tell from a caller who has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar

__all__ = ["patience", "ran_out"]

_LIMIT: ContextVar[asyncio.Timeout | None] = ContextVar("manymodal.patience", default=None)


@asynccontextmanager
async def patience(seconds: float, *, telling: bool = True) -> AsyncGenerator[None, None]:
    """``asyncio.timeout``, which ``ran_out`` knows of inside if it is ``telling``."""
    async with asyncio.timeout(seconds) as limit:
        token = _LIMIT.set(limit if telling else None)
        try:
            yield
        finally:
            _LIMIT.reset(token)


def ran_out() -> bool:
    """Whether the innermost ``patience`` around this has ended: what is cancelled now did not answer in time."""
    limit = _LIMIT.get()
    return limit is not None and limit.expired()
