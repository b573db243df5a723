"""From a stored medium to what a decoder makes of it, a few media at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from encoders.errors import EncoderOverloaded
from serving.concurrency import turn
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.types import MediaRef

__all__ = ["MediaReader"]

Decoded = TypeVar("Decoded")

# A medium is held whole while it waits for the decoder, up to 256 MiB of it.
_MAX_HELD = 4
_WAIT_SECONDS = 120.0


class MediaReader:
    """Reads media and has them decoded. Use from one event loop."""

    def __init__(self, store: ObjectStore, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._media = MediaStore(store)
        self._wait_seconds = wait_seconds
        self._slots = asyncio.Semaphore(_MAX_HELD)

    async def decoded(self, media: MediaRef, decode: Callable[[bytes], Awaitable[Decoded]]) -> Decoded:
        """``decode`` of the medium's bytes, which are checked against their hash first.

        Raises ``EncoderOverloaded`` when other media take too long, ``MediaNotFound``, ``CorruptObject``, and
        what ``decode`` raises.
        """
        busy = EncoderOverloaded("Too many media wait to be decoded; try again shortly.")
        async with turn(self._slots, self._wait_seconds, busy):
            return await decode(await asyncio.to_thread(self._media.read, media))
