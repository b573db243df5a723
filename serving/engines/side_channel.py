"""Streamed bodies beside Ray's handle: one local socket per engine replica, one connection per answer.

A handle carries a streamed answer in one message per chunk, each through gRPC's threads on both sides. At one
token per chunk that is a tenth of the decoder's time on two cores. Between processes of one machine the bytes
therefore go over an abstract Unix socket (Linux), while the handle's call stays open beside it: Ray still counts
the request, routes it, cancels it, and says at the end whether it went well.

Whoever connects must run as the same user and name the answer by its one-time token.

Waits: collecting an offer, naming it and connecting are bounded here, and so is a reader that takes nothing. How
long the decoder may think between two chunks is not: the gateway has the time limits of that, and closing the
handle's call, or the end of the gateway's process, ends the copying here.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from serving.errors import EngineUnavailable

__all__ = ["BodyAt", "SideChannel", "read_body"]

_TOKEN_BYTES = 32
_READ_BYTES = 64 << 10
_COLLECT_SECONDS = 10.0
_STALL_SECONDS = 300.0  # longer than the gateway's own limit for a client that reads nothing
_CONNECT_SECONDS = 10.0
_CONNECT_PAUSE_SECONDS = 0.01
_BACKLOG = 1024  # connections not yet accepted; all streams of a profile may begin at once


@dataclass(frozen=True, slots=True)
class BodyAt:
    """Where a streamed body can be read, once: the socket's abstract name and the one-time token."""

    name: str
    token: bytes


@dataclass(slots=True)
class _Offer:
    chunks: AsyncGenerator[bytes, None]
    collected: asyncio.Event
    finished: asyncio.Future[None]
    copying: asyncio.Task[None] | None = None


class SideChannel:
    """The replica's end; use from one event loop.

    An offer waits ``collect_seconds`` for its reader; a reader that takes nothing for ``stall_seconds`` is
    dropped.
    """

    def __init__(
        self, *, collect_seconds: float = _COLLECT_SECONDS, stall_seconds: float = _STALL_SECONDS
    ) -> None:
        self._collect_seconds = collect_seconds
        self._stall_seconds = stall_seconds
        self._name = f"manymodal-{secrets.token_hex(16)}"
        self._offers: dict[bytes, _Offer] = {}
        self._server: asyncio.Server | None = None
        self._starting = asyncio.Lock()

    async def send(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[BodyAt, None]:
        """Yield where ``chunks`` can be read, then wait until they are; an error among them is raised here.

        Closing this iterator closes ``chunks`` and the connection. Raises ``EngineUnavailable`` when nobody
        collects them, or not to the end.
        """
        await self._start()
        token = secrets.token_bytes(_TOKEN_BYTES)
        offer = _Offer(chunks, asyncio.Event(), asyncio.get_running_loop().create_future())
        self._offers[token] = offer
        try:
            yield BodyAt(self._name, token)
            try:
                async with asyncio.timeout(self._collect_seconds):
                    await offer.collected.wait()
            except TimeoutError:
                raise EngineUnavailable(
                    "The answer was not collected. Please send the request again."
                ) from None
            await offer.finished
        finally:
            self._offers.pop(token, None)
            if not offer.finished.cancel() and not offer.finished.cancelled():
                offer.finished.exception()  # it was raised above, or nobody is left to hear it
            if offer.copying is not None:
                offer.copying.cancel()
                await asyncio.wait({offer.copying})
            await chunks.aclose()

    async def aclose(self) -> None:
        """Stop listening. A replica does without: its socket ends with its process."""
        if self._server is not None:
            self._server.close()

    async def _start(self) -> None:
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.start_unix_server(
                    self._serve, path="\0" + self._name, backlog=_BACKLOG
                )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        offer = None
        try:
            if _peer_user(writer) != os.getuid():
                return
            async with asyncio.timeout(self._collect_seconds):
                token = await reader.readexactly(_TOKEN_BYTES)
            offer = self._offers.pop(token, None)
            if offer is None:
                return
            offer.copying = asyncio.current_task()
            offer.collected.set()
            await _copy(offer, reader, writer, self._stall_seconds)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return  # it never named an offer; whoever made one hears that it was not collected
        finally:
            writer.close()


async def _copy(
    offer: _Offer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stall_seconds: float
) -> None:
    """Write all chunks, then settle the offer: done, an error among them, or the reader did not stay."""

    async def write() -> bool:
        async for chunk in offer.chunks:
            try:
                writer.write(chunk)
                async with asyncio.timeout(stall_seconds):
                    await writer.drain()
            except OSError:  # TimeoutError is one
                return False
        return True

    writing = asyncio.create_task(write())
    leaving = asyncio.create_task(reader.read(1))  # a reader sends nothing more: this ends when it leaves
    try:
        await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        writing.cancel()
        leaving.cancel()
        outcome, _ = await asyncio.gather(writing, leaving, return_exceptions=True)
    if offer.finished.done():
        return
    if outcome is True:
        offer.finished.set_result(None)
    elif isinstance(outcome, Exception):
        offer.finished.set_exception(outcome)
    else:
        offer.finished.set_exception(
            EngineUnavailable("The answer was not read to its end. Please send the request again.")
        )


async def read_body(
    where: BodyAt, *, connect_seconds: float = _CONNECT_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The gateway's end: the body's bytes as they come, to the end of the connection.

    The end does not say whether the answer is whole; the handle's call does. Between chunks it waits as long
    as its caller does. Raises ``EngineUnavailable`` when the replica cannot be reached within
    ``connect_seconds``.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        async with asyncio.timeout(connect_seconds):
            await _connect(connection, "\0" + where.name)
            reader, writer = await asyncio.open_unix_connection(sock=connection)
    except OSError:  # TimeoutError is one
        connection.close()
        raise EngineUnavailable("The model's replica is gone. Please send the request again.") from None
    except BaseException:
        connection.close()
        raise
    try:
        writer.write(where.token)
        while chunk := await reader.read(_READ_BYTES):
            yield chunk
    except OSError:
        return  # a reset is an early end; the handle's call gives the reason
    finally:
        writer.close()


async def _connect(connection: socket.socket, address: str) -> None:
    """Connect a non-blocking Unix socket, waiting while the listener's backlog is full.

    Not ``sock_connect``: uvloop's cannot name an abstract address, and asyncio's takes the EAGAIN of a full
    backlog (unix(7)) for a connection under way and then believes it made.
    """
    while True:
        try:
            connection.connect(address)
            return
        except BlockingIOError:
            await asyncio.sleep(_CONNECT_PAUSE_SECONDS)


def _peer_user(writer: asyncio.StreamWriter) -> int:
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    return int(struct.unpack("3i", credentials)[1])
