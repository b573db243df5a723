"""An answer in pieces that come as they are made: server-sent events, or the bytes of a sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.disconnect import unless_gone
from serving.error_handlers import error_event
from serving.errors import ClientGone

__all__ = ["EventStream"]

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class EventStream(Response):
    """Sends ``first``, then each of ``pieces`` as it comes. Closes ``pieces``, which ends the work behind them,
    when the client is gone or takes nothing for ``stall_timeout_seconds``.

    A failure is an ``error`` event at the end. Of other media types, which have no place for one, the connection
    breaks instead: what is missing must not look complete.
    """

    def __init__(
        self,
        first: bytes,
        pieces: AsyncGenerator[bytes, None],
        *,
        stall_timeout_seconds: float,
        on_error: Callable[[Exception], None],
        media_type: str = "text/event-stream",
    ) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers(_HEADERS)
        self._first = first  # taken before: what fails at once is an answer of its own, not an event
        self._pieces = pieces
        self._stall_timeout_seconds = stall_timeout_seconds
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; returns when it is complete or the client is gone."""
        async with aclosing(self._pieces):
            with suppress(ClientGone, OSError, TimeoutError):  # nobody reads what would be sent
                await unless_gone(receive, self._pump(send))

    async def _pump(self, send: Send) -> None:
        await self._send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        piece: bytes | None = self._first
        while piece is not None:
            await self._send(send, {"type": "http.response.body", "body": piece, "more_body": True})
            piece = await self._next()
        await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self) -> bytes | None:
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            return None
        except Exception as error:
            self._on_error(error)
            if self.media_type != "text/event-stream":
                raise RuntimeError("The answer ended before it was complete.") from error
            return error_event(error)

    async def _send(self, send: Send, message: dict[str, object]) -> None:
        async with asyncio.timeout(self._stall_timeout_seconds):
            await send(message)
