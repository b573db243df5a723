"""A chat answer as server-sent events: the response that pumps the engine's bytes to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.answer_meter import AnswerMeter
from serving.disconnect import unless_gone
from serving.engine_call import EngineAnswer, raise_engine_error
from serving.error_handlers import error_event
from serving.errors import ClientGone, EngineStalled, EngineUnavailable
from serving.sse import Event, EventRewriter, StreamRewriter

__all__ = ["ChatStream", "checked"]

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class ChatStream(Response):
    """Streams an engine's answer that has begun.

    ``rewrite`` is given the events that end a choice, count tokens or tell an error, with ``every`` all; ``write``
    has the last word on the bytes of whole events.

    Costs one ``send``, one search and one timer move per chunk. Ends the engine's request at once when the
    client disconnects; ends with an ``error`` event when the engine fails or sends nothing for
    ``stall_timeout_seconds``; drops a client that reads nothing for as long.
    """

    def __init__(
        self,
        answer: EngineAnswer,
        rewrite: Callable[[Event], Event | None],
        *,
        every: bool = False,
        write: Callable[[bytes], bytes] = bytes,
        stall_timeout_seconds: float,
        on_error: Callable[[Exception], None],
        meter: AnswerMeter | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = "text/event-stream"
        self.init_headers(_HEADERS)
        self._answer = answer
        self._rewriter: StreamRewriter = EventRewriter(checked(rewrite), every=every)
        self._write = write
        self._stall_timeout_seconds = stall_timeout_seconds
        self._on_error = on_error
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; returns when it is complete or the client is gone."""
        try:
            with suppress(ClientGone, OSError):  # the connection broke while sending: the client is gone, too
                await unless_gone(receive, self._pump(send))
        finally:
            await self._answer.aclose()

    async def _pump(self, send: Send) -> None:
        async def emit(chunk: bytes) -> None:
            body = self._rewriter.feed(chunk)
            if body:
                await send({"type": "http.response.body", "body": self._write(body), "more_body": True})
                if self._meter is not None:
                    self._meter.piece()
            if self._rewriter.failure is not None:
                raise self._rewriter.failure

        loop = asyncio.get_running_loop()
        stall = self._stall_timeout_seconds
        sending = True
        error: Exception | None = None
        last = b""
        try:
            async with asyncio.timeout(stall) as deadline:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await emit(self._answer.first)
                sending = False
                async for chunk in self._answer:
                    if isinstance(chunk, bytes):
                        sending = True
                        await emit(chunk)
                        sending = False
                    deadline.reschedule(loop.time() + stall)
            if not self._rewriter.done:
                error = EngineUnavailable("The model stopped in the middle of its answer. Please try again.")
            else:
                last = await self._closing()
                if self._meter is not None:
                    self._meter.end()
        except TimeoutError:
            if sending:
                return
            error = EngineStalled(f"The model sent nothing for {stall:g} seconds; its answer ends here.")
        except OSError:
            raise
        except Exception as failure:
            error = failure
        async with asyncio.timeout(stall):
            if error is not None:
                self._on_error(error)
                last = await self._failing(error)
            if last:
                await send({"type": "http.response.body", "body": last, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _closing(self) -> bytes:
        """What is sent after the last event of a whole answer."""
        return b""

    async def _failing(self, error: Exception) -> bytes:
        """What is sent when an answer ends with an error."""
        return error_event(error)


def checked(rewrite: Callable[[Event], Event | None]) -> Callable[[Event], Event | None]:
    """``rewrite``, after the engine's own error events have been turned into exceptions of ours."""

    def check(event: Event) -> Event | None:
        error: Any = event.get("error")
        if isinstance(error, dict):
            code = error.get("code")
            raise_engine_error(code if isinstance(code, int) else 500, error)
        return rewrite(event)

    return check
