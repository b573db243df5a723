"""Requests to the gateway's own application, in-process, on a tenant's behalf."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp

from serving.identity import CALLER_KEY, Caller

__all__ = ["OwnAnswer", "OwnApplication"]

_log = logging.getLogger("manymodal.gateway")


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """An HTTP answer, as it would have been sent."""

    status: int
    headers: Headers
    body: bytes


class OwnApplication:
    """Calls the application with all its layers: what a request is answered here, it would be over the network."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    def attach(self, app: ASGIApp) -> None:
        """The application is made after its parts, of which this is one."""
        self._app = app

    async def post(self, path: str, body: bytes, caller: Caller) -> OwnAnswer | None:
        """The answer to a JSON body; ``None`` when the application failed before it was whole.

        Cancelling this cancels the request, as a client does that leaves.
        """
        if self._app is None:
            raise RuntimeError("The application was never attached.")
        unread = [body]
        status = 0
        headers = Headers()
        received = bytearray()
        answered = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], Headers(raw=list(message.get("headers", ())))
            elif message["type"] == "http.response.body":
                received.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    answered.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"x-request-id", f"req_{uuid.uuid4().hex}".encode()),
            ],
            "client": None,
            "server": None,
            "state": {},
            CALLER_KEY: caller,
        }
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            _log.error("A request of a batch failed unexpectedly", exc_info=error)
            return None
        return OwnAnswer(status, headers, bytes(received)) if answered.is_set() else None
