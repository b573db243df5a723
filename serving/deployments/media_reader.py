"""From a stored medium to what a decoder makes of it, a few media at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, TypeVar

from encoders.errors import EncoderOverloaded
from serving.concurrency import in_thread_or_undone, turn
from storage.errors import StoreUnavailable
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.types import MediaRef

__all__ = ["MediaReader"]

Decoded = TypeVar("Decoded")

_MAX_HELD = 4
_WAIT_SECONDS = 120.0
_MAX_BYTES_IN_MEMORY = 16 << 20


class MediaReader:
    """Reads media and has them decoded. Use from one event loop.

    What comes out was checked against the medium's hash. Small media are held in memory, others in a nameless file
    of ``spool_folder``: at most four media at a time, so never more than 64 MiB.
    """

    def __init__(self, store: ObjectStore, spool_folder: Path, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._media = MediaStore(store)
        self._spool_folder = spool_folder
        self._wait_seconds = wait_seconds
        self._slots = asyncio.Semaphore(_MAX_HELD)

    async def decoded(
        self, media: MediaRef, decode: Callable[[bytes | BinaryIO], Awaitable[Decoded]]
    ) -> Decoded:
        """``decode`` of the medium. Raises as ``opened`` does, and what ``decode`` raises."""
        async with self.opened(media) as source:
            return await decode(source)

    @asynccontextmanager
    async def opened(self, media: MediaRef) -> AsyncIterator[bytes | BinaryIO]:
        """The medium's bytes, or a file of them.

        Raises ``EncoderOverloaded`` when other media take too long, ``MediaNotFound``, ``CorruptObject``, and
        ``StoreUnavailable`` when there is no room for the file. Whoever is cancelled gives its place away only when
        its thread has ended.
        """
        busy = EncoderOverloaded("Too many media wait to be decoded; try again shortly.")
        async with turn(self._slots, self._wait_seconds, busy):
            if media.size_bytes <= _MAX_BYTES_IN_MEMORY:
                yield await in_thread_or_undone(lambda: self._media.read(media), lambda _: None)
                return
            file = await in_thread_or_undone(lambda: self._spooled(media), lambda spooled: spooled.close())
            try:
                yield file
            finally:
                file.close()

    def _spooled(self, media: MediaRef) -> BinaryIO:
        with ExitStack() as undone:
            try:
                self._spool_folder.mkdir(parents=True, exist_ok=True)
                file: BinaryIO = undone.enter_context(TemporaryFile(dir=self._spool_folder))
                for chunk in self._media.stream(media):
                    file.write(chunk)
                file.flush()
            except OSError as error:
                raise StoreUnavailable("There is no room to read the media. Try again later.") from error
            undone.pop_all()  # the caller closes it
            return file
