"""The lines of a request's body while it still comes, in bounded memory.

What is not yet worked on waits in a file. So a client that sends everything before it reads the first answer is
not waited for by a server that waits for it in turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect, Request

from serving.errors import ClientGone, ServiceUnavailable
from serving.spooling import open_spool
from storage.errors import StoreUnavailable

__all__ = ["BodyLines", "LineTooLong"]

_MEMORY_BYTES = 1 << 20
_MAX_SPOOL_BYTES = 256 << 20
_READ_BYTES = 256 << 10

_log = logging.getLogger("manymodal.gateway")


class LineTooLong:
    """Stands for a line over the limit, whose bytes were thrown away."""


class BodyLines:
    """Use as a context; run ``receive`` beside ``lines``. At most 256 MiB wait, then the client does.

    A client that sends nothing for ``idle_timeout_seconds`` while lines are waited for is given up.
    """

    def __init__(
        self, request: Request, spool_folder: str | None, max_line_bytes: int, idle_timeout_seconds: float
    ) -> None:
        self._request = request
        self._max_line_bytes = max_line_bytes
        self._idle_timeout_seconds = idle_timeout_seconds
        self._spool = open_spool(spool_folder, _MEMORY_BYTES)
        self._written = 0
        self._read = 0
        self._ended = False
        self._failure: Exception | None = None
        self._changed = asyncio.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    async def receive(self) -> None:
        """Take the body in, then wait. Raises ``ClientGone`` when the client disconnects; never returns."""
        try:
            async with aclosing(self._request.stream()) as body:
                async for chunk in body:
                    await self._put(chunk)
        except ClientDisconnect:
            raise ClientGone("The client closed the connection while sending the request.") from None
        except Exception as error:  # a body over its limit, a full disk: said after the lines before it
            self._failure = error
        async with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._failure is not None:
            await asyncio.Event().wait()  # what is left of the body cannot be read; who runs this ends it
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        raise ClientGone("The client closed the connection before the answer was ready.")

    async def lines(self) -> AsyncIterator[bytes | LineTooLong]:
        """Lines without their end, blank ones left out. Raises what was wrong with the body after the last."""
        rest = bytearray()
        too_long = False
        while chunk := await self._get():
            *whole, last = chunk.split(b"\n")
            for piece in whole:
                rest += piece
                if too_long or len(rest) > self._max_line_bytes:
                    yield LineTooLong()
                elif line := bytes(rest).strip():
                    yield line
                rest.clear()
                too_long = False
            rest += last
            if len(rest) > self._max_line_bytes:
                too_long = True
                rest.clear()
        if self._failure is not None:
            raise self._failure
        if too_long:
            yield LineTooLong()
        elif line := bytes(rest).strip():
            yield line

    async def _put(self, chunk: bytes) -> None:
        async with self._changed:
            while self._written >= _MAX_SPOOL_BYTES and self._read < self._written:
                await self._changed.wait()
            await asyncio.to_thread(self._write, chunk)
            self._changed.notify_all()

    async def _get(self) -> bytes:
        """The next bytes; none at the end of the body."""
        async with self._changed:
            try:
                async with asyncio.timeout(self._idle_timeout_seconds):
                    await self._changed.wait_for(lambda: self._read < self._written or self._ended)
            except TimeoutError:
                raise ServiceUnavailable(
                    f"Nothing was sent for {self._idle_timeout_seconds:g} seconds; the stream ends here."
                ) from None
            chunk = await asyncio.to_thread(self._next) if self._read < self._written else b""
            self._changed.notify_all()
            return chunk

    def _write(self, chunk: bytes) -> None:
        if self._read == self._written:  # all that lies there was worked on
            self._spool.seek(0)
            self._spool.truncate()
            self._read = self._written = 0
        self._spool.seek(self._written)
        try:
            self._spool.write(chunk)
        except OSError as error:
            _log.error("A stream of lines could not be spooled", exc_info=error)
            raise StoreUnavailable("There is no room to receive the texts. Try again later.") from error
        self._written += len(chunk)

    def _next(self) -> bytes:
        self._spool.seek(self._read)
        chunk = self._spool.read(min(_READ_BYTES, self._written - self._read))
        self._read += len(chunk)
        return chunk
