"""A client of the application without HTTP between: it sees every piece as it is sent, may leave, and may stall."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx2

__all__ = ["AsgiListener"]


class AsgiListener:
    """Sends one request; ``piece`` is the next of its answer."""

    def __init__(self, app: Any, request: httpx2.Request, *, reads: int | None = None) -> None:
        """With ``reads`` it takes only so many messages and then none."""
        self._sent: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._asked: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._reads = reads
        self._asked.put_nowait({"type": "http.request", "body": request.read(), "more_body": False})
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": request.method,
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": b"",
            "scheme": "http",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }
        self.running = asyncio.create_task(app(scope, self._asked.get, self._send))

    async def _send(self, message: Mapping[str, Any]) -> None:
        if self._reads is not None:
            if not self._reads:
                await asyncio.Event().wait()
            self._reads -= 1
        self._sent.put_nowait(message)

    async def message(self) -> Mapping[str, Any]:
        """The next message of the answer."""
        return await asyncio.wait_for(self._sent.get(), 10)

    async def events(self) -> list[dict[str, Any]]:
        """The server-sent events of the next message."""
        body = (await self.message())["body"]
        return [json.loads(line[5:]) for line in body.split(b"\n") if line.startswith(b"data:")]

    @property
    def waiting(self) -> int:
        """Messages that came and were not looked at."""
        return self._sent.qsize()

    def leave(self) -> None:
        """Close the connection."""
        self._asked.put_nowait({"type": "http.disconnect"})
