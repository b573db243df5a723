"""Noticing that a client is gone while its answer is still being made."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from serving.errors import ClientGone

__all__ = ["unless_gone"]

Result = TypeVar("Result")


async def unless_gone(client: Request | Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Await ``work``, but cancel it and raise ``ClientGone`` as soon as the client disconnects. The request's body
    must have been read.

    A result that nobody takes, since the caller itself was cancelled just then, is closed if it has an ``aclose``.
    """
    receive = client.receive if isinstance(client, Request) else client
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_wait_until_gone(receive))
    taken = False
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("The client closed the connection before the answer was ready.")
        taken = True
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        made, _ = await asyncio.gather(working, watching, return_exceptions=True)
        if not taken and (close := getattr(made, "aclose", None)) is not None:
            await close()  # it may hold a turn, which nobody else would give back


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
