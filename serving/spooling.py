"""Bytes that come in over the network, in a file that is gone afterwards."""

from __future__ import annotations

import asyncio
import io
import logging
import tempfile
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, cast

from serving.concurrency import to_the_end
from storage.errors import StoreUnavailable

__all__ = ["SpoolView", "file_bytes", "fill", "open_spool", "written"]

_MEMORY_BYTES = 4 << 20
_WRITE_BYTES = 1 << 20

_log = logging.getLogger("manymodal.gateway")


def open_spool(folder: str | None, memory_bytes: int = _MEMORY_BYTES) -> BinaryIO:
    """An empty file that is gone when it is closed; what is more than ``memory_bytes`` lies in ``folder``."""
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=memory_bytes, dir=folder))


def file_bytes(file: BinaryIO) -> int:
    """How long an open file is; it stays where it is."""
    at = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(at)
    return size


class SpoolView(io.RawIOBase):
    """A spool read from its beginning, at a place of its own: several documents may be of one file. Closing it
    closes nothing. All views of a spool belong to one thread.
    """

    def __init__(self, spool: BinaryIO) -> None:
        self._spool = spool
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See ``io.RawIOBase``."""
        self._spool.seek(self._at)
        data = self._spool.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See ``io.IOBase``."""
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}
        start = self._spool.seek(0, io.SEEK_END) if whence == io.SEEK_END else starts[whence]
        self._at = start + offset
        return self._at


def written(spool: BinaryIO, data: bytes | bytearray) -> None:
    """Write to a spool. Raises ``StoreUnavailable`` when there is no room."""
    try:
        spool.write(data)
    except OSError as error:
        _log.error("What came in could not be spooled", exc_info=error)
        raise StoreUnavailable("There is no room to receive this. Try again later.") from error


async def fill(spool: BinaryIO, body: AsyncIterator[bytes]) -> None:
    """Write ``body`` to ``spool`` in a thread, a large piece at a time, and go back to its beginning.

    Raises ``StoreUnavailable`` when there is no room.
    """
    waiting = bytearray()

    def write() -> None:
        written(spool, waiting)
        waiting.clear()

    async for chunk in body:
        waiting += chunk
        if len(waiting) >= _WRITE_BYTES:
            await to_the_end(asyncio.to_thread(write))
    await to_the_end(asyncio.to_thread(write))
    spool.seek(0)
