"""The bytes of a stored file as an HTTP answer: piece by piece, whole or a range, and only after they were checked.

Files are never rendered by a browser: they are attachments, of the type their bytes have.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import suppress
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from serving.byte_range import NOT_SATISFIABLE, ByteRange, matches_etag, read_range
from serving.concurrency import to_the_end
from serving.config import RequestLimits
from serving.disconnect import unless_gone
from serving.errors import ClientGone
from serving.gateway import gateway_of
from serving.protocol.errors import error_bytes
from storage.errors import StorageError
from storage.media import MediaStore
from storage.types import MediaRecord

__all__ = ["content_response"]

_SENT_BYTES = 256 << 10

_log = logging.getLogger("manymodal.gateway")


def _file_headers(record: MediaRecord) -> dict[str, str]:
    name = quote(record.filename or record.ref.id, safe="")
    return {
        # Of the id, not of the content: a hash would tell who else has the same bytes. Both never change.
        "etag": f'"{record.ref.id}"',
        "cache-control": "private, no-cache",
        "content-disposition": f"attachment; filename*=UTF-8''{name}",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
    }


async def content_response(request: Request, tenant: str, file_id: str) -> Response:
    """Answer GET or HEAD for a file's bytes: 200, 206 for one range, 304, 416.

    Raises ``MediaNotFound``, and whatever ``MediaStore.stream`` raises before its first piece.
    """
    gateway = gateway_of(request)
    media, limits = gateway.storage.media, gateway.config.limits
    record = await asyncio.to_thread(media.get, tenant, file_id)
    size_bytes = record.ref.size_bytes
    headers = _file_headers(record) | {"accept-ranges": "bytes"}
    if matches_etag(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    headers |= {"content-type": record.ref.content_type, "content-length": str(size_bytes)}
    if request.method == "HEAD":
        return Response(headers=headers)
    given = request.headers
    part = read_range(given.get("range"), given.get("if-range"), size_bytes, headers["etag"])
    if part == NOT_SATISFIABLE:
        message = f"The file has {size_bytes} bytes; the range asked for has none of them."
        error = error_bytes(message, "invalid_request_error", None, "range_not_satisfiable")
        return Response(error, 416, {"content-range": f"bytes */{size_bytes}"}, "application/json")
    if part is None:
        return await _begun(media, record, (0, size_bytes), 200, headers, limits)
    start, end = part
    headers |= {"content-length": str(end - start), "content-range": f"bytes {start}-{end - 1}/{size_bytes}"}
    return await _begun(media, record, part, 206, headers, limits)


async def _begun(
    media: MediaStore,
    record: MediaRecord,
    part: ByteRange,
    status: int,
    headers: dict[str, str],
    limits: RequestLimits,
) -> Response:
    """An answer whose first piece is there: what is wrong with the file until then gets its own status."""
    pieces = media.stream(record.ref, *part)
    first = await to_the_end(asyncio.to_thread(next, pieces, b""))
    return _Streamed(first, pieces, status, headers, limits.stall_timeout_seconds)


class _Streamed(Response):
    """One piece is in memory at a time. A client that takes nothing for ``stall_timeout_seconds`` is dropped."""

    def __init__(
        self,
        first: bytes,
        pieces: Generator[bytes, None, None],
        status_code: int,
        headers: dict[str, str],
        stall_timeout_seconds: float,
    ) -> None:
        self.status_code = status_code
        self.background = None
        self._first = first
        self._pieces = pieces
        self._stall_timeout_seconds = stall_timeout_seconds
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(ClientGone):
                await unless_gone(receive, self._pump(send))
        finally:
            # Gives the store's file or connection back now, not whenever the generator is collected.
            await to_the_end(asyncio.to_thread(self._pieces.close))

    async def _pump(self, send: Send) -> None:
        piece = self._first
        try:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await self._send(send, start)
            while piece:
                # Small steps: the limit is on a client that takes nothing, not on a slow one.
                for at in range(0, len(piece), _SENT_BYTES):
                    await self._send(send, _body(piece[at : at + _SENT_BYTES], more=True))
                # To its end even when cancelled: the generator cannot be closed while it runs.
                piece = await to_the_end(asyncio.to_thread(next, self._pieces, b""))
            await self._send(send, _body(b"", more=False))
        except TimeoutError:
            pass
        except StorageError as error:
            # The status is sent already. An answer that ends short of its length tells the client, and the
            # server then closes the connection.
            _log.error("A file's content broke off: %s", error, exc_info=error)

    async def _send(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._stall_timeout_seconds):
            await send(message)


def _body(content: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}
