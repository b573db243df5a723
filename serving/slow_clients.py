"""Clients that send their request too slowly, or do not read their answer, are given up."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.config import RequestLimits
from serving.errors import RequestTooSlow

__all__ = ["SlowClients"]

_SENT_BYTES = 256 << 10  # the time limit is on a reader that takes nothing, not on a slow one of much

_log = logging.getLogger("manymodal.gateway")


class _ReaderStalled(OSError):
    """The connection is of no use any more, as if it were broken."""


class SlowClients:
    """Pure ASGI middleware. A body must bring something every ``body_idle_seconds``, and in the long run
    ``min_body_bytes_per_second``; the time in which nobody asks for more of it does not count. An answer must
    be taken within ``stall_timeout_seconds`` for each 256 KiB.

    Streams of lines to embed may pause: they are answered line by line, and have a time limit of their own.
    """

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._limits)
        lines = Headers(scope=scope).get("content-type", "").lower().startswith("application/x-ndjson")
        stall = self._limits.stall_timeout_seconds

        async def send_in_time(message: Message) -> None:
            content = message.get("body", b"")
            if len(content) <= _SENT_BYTES:
                await deliver(message)
                return
            for at in range(0, len(content), _SENT_BYTES):
                last = at + _SENT_BYTES >= len(content)
                more = not last or message.get("more_body", False)
                await deliver({**message, "body": content[at : at + _SENT_BYTES], "more_body": more})

        async def deliver(message: Message) -> None:
            try:
                async with asyncio.timeout(stall) as limit:
                    await send(message)
            except TimeoutError:
                if limit.expired():
                    raise _ReaderStalled from None
                raise

        try:
            await self._app(scope, receive if lines else body.receive, send_in_time)
        except _ReaderStalled:
            # The answer stays unfinished: the server then closes the connection.
            _log.info("A client took nothing of its answer for %g seconds; it is given up", stall)


class _Body:
    """A request's body, as long as it comes in time."""

    def __init__(self, receive: Receive, limits: RequestLimits) -> None:
        self._receive = receive
        self._idle_seconds = limits.body_idle_seconds
        self._rate = limits.min_body_bytes_per_second
        self._more = True
        self._bytes = 0
        self._waited_seconds = 0.0

    async def receive(self) -> Message:
        """The next message. Raises ``RequestTooSlow``."""
        if not self._more:
            return await self._receive()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._idle_seconds) as limit:
                message = await self._receive()
        except TimeoutError:
            if limit.expired():
                raise RequestTooSlow(
                    f"Nothing of the request's body came for {self._idle_seconds:g} seconds (body_idle_seconds)."
                ) from None
            raise
        self._waited_seconds += time.monotonic() - began
        self._bytes += len(message.get("body", b""))
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        if (
            self._more
            and self._waited_seconds > self._idle_seconds
            and self._bytes < self._rate * self._waited_seconds
        ):
            raise RequestTooSlow(
                f"The request's body comes with less than {self._rate:g} bytes a second "
                "(min_body_bytes_per_second)."
            )
        return message
