"""Bytes that come in over the network, in a file that is gone afterwards."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from typing import BinaryIO, cast

from serving.concurrency import to_the_end
from storage.errors import StoreUnavailable

__all__ = ["fill", "open_spool", "written"]

_MEMORY_BYTES = 4 << 20
_WRITE_BYTES = 1 << 20

_log = logging.getLogger("manymodal.gateway")


def open_spool(folder: str | None, memory_bytes: int = _MEMORY_BYTES) -> BinaryIO:
    """An empty file that is gone when it is closed; what is more than ``memory_bytes`` lies in ``folder``."""
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=memory_bytes, dir=folder))


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
