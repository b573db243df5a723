"""Bytes on their way in: hashed once, and then to be written under the key that the hash gives.

- A stream that can go back to where it began (an upload that the HTTP layer has spooled) is read twice and never
  copied.
- Any other is spooled, first in memory, then on disk, until its hash is known.
- One that grows beyond ``STAGED_FROM_BYTES`` goes on as one stream to ``staging/`` in the object store, so that
  it needs no room here, and is copied there, server-side, once its hash is known.
"""

from __future__ import annotations

import hashlib
import io
import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, cast

from storage.digests import SMALL_BLOB_BYTES, ChunkDigests, ChunkHasher
from storage.errors import ObjectNotFound, ObjectTooLarge, StorageError, StoreUnavailable
from storage.keys import new_staging_key
from storage.objects import ObjectStore

__all__ = ["STAGED_FROM_BYTES", "Content", "taken_in"]

_LOG = logging.getLogger(__name__)
STAGED_FROM_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_SPOOL_MEMORY_BYTES = 4 << 20
_MAX_PENDING = 4  # MiB that wait to be hashed in chunks


class Content:
    """Bytes whose hash is known. They may be written any number of times. ``digests`` is ``None`` for few bytes."""

    def __init__(
        self, reader: _HashingReader, store: ObjectStore, source: BinaryIO | str, start: int = 0
    ) -> None:
        self.sha256 = reader.sha256
        self.size_bytes = reader.size_bytes
        self.digests = reader.digests
        self._store = store
        self._source = source  # a stream that begins at ``start``, or the key of a staged object
        self._start = start

    def body(self) -> BinaryIO | None:
        """The bytes as a stream at its beginning; ``None`` when they lie in the object store already."""
        if isinstance(self._source, str):
            return None
        self._source.seek(self._start)
        return self._source

    def write_if_absent(self, key: str) -> bool:
        """``ObjectStore.put_if_absent`` of the bytes."""
        if isinstance(self._source, str):
            with _still_staged():
                return self._store.copy_if_absent(self._source, key)
        self._source.seek(self._start)
        return self._store.put_if_absent(key, self._source)

    def write(self, key: str) -> None:
        """``ObjectStore.put`` of the bytes."""
        if isinstance(self._source, str):
            with _still_staged(), self._store.open(self._source) as staged:
                self._store.put(key, staged)
            return
        self._source.seek(self._start)
        self._store.put(key, self._source)


@contextmanager
def _still_staged() -> Iterator[None]:
    try:
        yield
    except ObjectNotFound as error:  # collected: staged longer ago than the grace period
        raise StoreUnavailable("The upload took too long. Send it again.") from error


@contextmanager
def taken_in(
    store: ObjectStore, stream: BinaryIO, max_bytes: int, spool_folder: str | None
) -> Iterator[Content]:
    """Everything from ``stream``'s position to its end; nothing of it is left behind when the context ends.

    What a seekable stream gives must not change meanwhile. Raises ``ObjectTooLarge`` beyond ``max_bytes``, and
    what reading the stream raises.
    """
    if stream.seekable():
        start = stream.tell()
        is_small = stream.seek(0, io.SEEK_END) - start <= SMALL_BLOB_BYTES
        stream.seek(start)
        with _HashingReader(stream, max_bytes, in_chunks=not is_small) as reader:
            while reader.read(_CHUNK_BYTES):
                pass
        yield Content(reader, store, stream, start)
        return
    with (
        tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY_BYTES, dir=spool_folder) as file,
        _HashingReader(stream, max_bytes, in_chunks=True) as reader,
    ):
        spool = cast(BinaryIO, file)
        if _spool(reader, spool):
            yield Content(reader, store, spool)
            return
        spool.seek(0)
        key = new_staging_key()
        try:
            store.put(key, cast(BinaryIO, _Joined([spool.read, reader.read])))
            yield Content(reader, store, key)
        finally:
            try:
                store.delete(key)
            except StorageError as error:  # the sweep takes it
                _LOG.warning("A staged upload could not be removed yet: %s", error)


def _spool(reader: _HashingReader, spool: BinaryIO) -> bool:
    """Copy up to ``STAGED_FROM_BYTES`` to ``spool``; whether that was all."""
    while reader.size_bytes < STAGED_FROM_BYTES:
        chunk = reader.read(_CHUNK_BYTES)
        if not chunk:
            return True
        try:
            spool.write(chunk)
        except OSError as error:  # not the stream's fault: the spool folder is full or gone
            _LOG.error("An upload could not be spooled: %s", error)
            raise StoreUnavailable("There is no room to receive the media. Try again later.") from error
    return False


class _HashingReader:
    """Reads on in a stream, with hash, chunk digests and size of everything so far. The chunks are hashed in a
    thread of their own: hashing lets go of the interpreter's lock.
    """

    def __init__(self, stream: BinaryIO, max_bytes: int, *, in_chunks: bool) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._whole = hashlib.sha256()
        self._chunks = ChunkHasher() if in_chunks else None
        self._pool = ThreadPoolExecutor(1, "media-chunks") if in_chunks else None
        self._pending: deque[Future[None]] = deque()
        self.size_bytes = 0

    def __enter__(self) -> _HashingReader:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    @property
    def sha256(self) -> str:
        return self._whole.hexdigest()

    @property
    def digests(self) -> ChunkDigests | None:
        while self._pending:
            self._pending.popleft().result()
        return None if self._chunks is None else self._chunks.digests

    def read(self, limit_bytes: int) -> bytes:
        chunk = self._stream.read(min(limit_bytes, _CHUNK_BYTES))
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise ObjectTooLarge(f"The media is larger than {self._max_bytes} bytes. Send a smaller file.")
        if self._pool is not None and self._chunks is not None:
            if len(self._pending) == _MAX_PENDING:
                self._pending.popleft().result()
            self._pending.append(self._pool.submit(self._chunks.update, chunk))
        self._whole.update(chunk)
        return chunk


class _Joined(io.RawIOBase):
    """What several readers give, one after the other."""

    def __init__(self, reads: list[Callable[[int], bytes]]) -> None:
        self._reads = reads

    def readable(self) -> bool:
        return True

    # The type in typeshed is a buffer that mypy cannot slice.
    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while self._reads:
            if chunk := self._reads[0](min(len(buffer), _CHUNK_BYTES)):
                buffer[: len(chunk)] = chunk
                return len(chunk)
            del self._reads[0]
        return 0
