"""uvicorn's HTTP connections with the time limits it lacks: for headers that dribble in, for readers that stop.

uvicorn waits for ever for the end of a request's head, and a connection that it closes stays open until everything
is sent. Ray Serve makes the server itself and offers no setting for its protocol, so the entry that ``"auto"``
means is replaced in the gateway's process.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["impatient", "install"]

_MAX_HEAD_BYTES = 256 << 10  # uvicorn keeps all of it, however much comes


class _Impatient(HttpToolsProtocol):
    head_seconds: float
    stall_seconds: float
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """See ``asyncio.Protocol``. A connection on which nothing is asked is closed as well."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if (
            connection is not None
            and connection.family != socket.AF_UNIX
            and hasattr(socket, "TCP_USER_TIMEOUT")
        ):
            # What lies unread for so long ends the connection, also one that is closed and not yet empty: tcp(7).
            milliseconds = round(self.stall_seconds * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()  # another request's first bytes
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._give_up()

    def on_headers_complete(self) -> None:
        """The parser has a request's head."""
        self._head_came()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_came()
        if not self.transport.is_closing():
            self.transport.abort()


def impatient(head_seconds: float, stall_seconds: float) -> type[HttpToolsProtocol]:
    """A protocol class for ``uvicorn.Config(http=...)``: a request's head must be there within ``head_seconds``,
    and some of what was sent must be taken within ``stall_seconds``.
    """
    return type("Impatient", (_Impatient,), {"head_seconds": head_seconds, "stall_seconds": stall_seconds})


def install(head_seconds: float, stall_seconds: float) -> None:
    """Make every uvicorn server that this process makes from now on impatient."""
    # uvicorn's table names modules; it takes classes as well.
    HTTP_PROTOCOLS["auto"] = impatient(head_seconds, stall_seconds)  # type: ignore[assignment]
