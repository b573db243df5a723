"""One call into an ASGI application, in-process, as an asynchronous iterator.

vLLM's own server is an ASGI application. Calling it here, without a socket, lets it run inside a replica and
keeps every line of its protocol code in use.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from serving.errors import EngineUnavailable
from serving.services import EngineResponse

__all__ = ["AsgiApp", "call_asgi"]

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

_LOG = logging.getLogger(__name__)
_MAX_UNREAD_BYTES = 1 << 20

# The event loop keeps only weak references to tasks; a call outlives its reader until it has noticed that
# the client is gone.
_calls: set[asyncio.Task[None]] = set()


class _Exchange:
    """The two ends of one call: what the application sent and whether anybody still reads it."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._sent: deque[EngineResponse | bytes] = deque()
        self._unread_bytes = 0
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._gone = asyncio.Event()
        self._complete = False
        self._finished = False

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            headers = tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in message.get("headers", ()))
            self._sent.append(EngineResponse(message["status"], headers))
        elif chunk := bytes(message.get("body", b"")):
            while self._unread_bytes > _MAX_UNREAD_BYTES and not self._gone.is_set():
                self._drained.clear()
                await self._drained.wait()
            self._sent.append(chunk)
            self._unread_bytes += len(chunk)
        self._complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._changed.set()

    def finish(self, task: asyncio.Task[None]) -> None:
        _calls.discard(task)
        self._finished = True
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _LOG.error("The engine's application failed.", exc_info=error)
        self._changed.set()

    def leave(self) -> None:
        self._gone.set()
        self._drained.set()

    async def read(self) -> EngineResponse | bytes | None:
        """The response head, then bytes, everything that has piled up in one piece; ``None`` at the end."""
        while not self._sent:
            if self._finished:
                if not self._complete:
                    raise EngineUnavailable(
                        "The model stopped while answering. Please send the request again."
                    )
                return None
            self._changed.clear()
            await self._changed.wait()
        first = self._sent.popleft()
        if isinstance(first, EngineResponse):
            return first
        chunks = [first]
        while self._sent and isinstance(self._sent[0], bytes):
            chunks.append(self._sent.popleft())  # type: ignore[arg-type]  # looked at in the line above
        self._unread_bytes = 0
        self._drained.set()
        return b"".join(chunks)


async def call_asgi(
    app: AsgiApp, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> AsyncGenerator[EngineResponse | bytes, None]:
    """Call ``app`` once; yield the response head, then body bytes as they come.

    Chunks that pile up while the reader is busy are joined. Closing the iterator early reaches the
    application as ``http.disconnect``; its task is never cancelled, because vLLM would then leave its inner
    handler running. Raises ``EngineUnavailable`` when the application ends before its answer is complete (one
    that fails afterwards, as Starlette does once it has sent its error page, is only logged).
    """
    exchange = _Exchange(body)
    scope: MutableMapping[str, Any] = {
        "type": "http",
        # 2.3: from 2.4 on Starlette no longer listens for a disconnect while it streams.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        "client": None,
        "server": None,
    }

    async def run() -> None:
        await app(scope, exchange.receive, exchange.send)

    task = asyncio.create_task(run())
    _calls.add(task)
    task.add_done_callback(exchange.finish)
    try:
        while (item := await exchange.read()) is not None:
            yield item
    finally:
        exchange.leave()
