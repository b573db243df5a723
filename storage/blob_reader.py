"""Reading contents: nothing leaves here that was not checked.

Small blobs are checked as a whole. Of large ones every chunk is checked before it is handed out, by the chunk
digests; where those are missing or damaged, one pass over the whole blob comes first. Whatever is missing or
damaged under one key is tried under the next of ``BlobStore.copies``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator

from storage.blobs import BlobStore
from storage.digests import CHUNK_BYTES, SMALL_BLOB_BYTES, ChunkDigests, ChunkHasher
from storage.errors import CorruptObject, MediaNotFound, ObjectNotFound, StorageError
from storage.keys import blob_key, digests_key
from storage.objects import ObjectStore
from storage.streams import read_full
from storage.types import MediaRef

__all__ = ["BlobReader"]

_LOG = logging.getLogger(__name__)


class BlobReader:
    """Verified reading over an ``ObjectStore``.

    Raises ``CorruptObject`` when the bytes are not what was stored, which marks them to be overwritten by the
    next upload of the same content, and ``MediaNotFound`` when they are gone.
    """

    def __init__(self, store: ObjectStore, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs

    def read(self, ref: MediaRef) -> bytes:
        """All bytes."""
        is_damaged = False
        for key in self._blobs.copies(ref.tenant, ref.sha256):
            try:
                data: bytes | None = self._store.get(key)
            except ObjectNotFound:
                continue
            except CorruptObject:  # a store that keeps checksums of its own noticed first
                data = None
            if data is not None and hashlib.sha256(data).hexdigest() == ref.sha256:
                return data
            is_damaged = True
        raise self._failure(ref, is_damaged)

    def stream(self, ref: MediaRef, start_bytes: int, end_bytes: int) -> Generator[bytes, None, None]:
        """The bytes from ``start_bytes`` to before ``end_bytes`` in pieces of at most ``CHUNK_BYTES``."""
        start, end = max(0, start_bytes), min(end_bytes, ref.size_bytes)
        if start >= end:
            return
        if ref.size_bytes <= SMALL_BLOB_BYTES:
            data = self.read(ref)
            for at in range(start, end, CHUNK_BYTES):
                yield data[at : min(at + CHUNK_BYTES, end)]
            return
        digests = self._digests(ref)
        index, stop = start // CHUNK_BYTES, -(-end // CHUNK_BYTES)
        is_damaged = False
        for key in self._blobs.copies(ref.tenant, ref.sha256):
            first = index * CHUNK_BYTES
            try:
                stream = self._store.open(key, first, min(stop * CHUNK_BYTES, ref.size_bytes) - first)
            except ObjectNotFound:
                continue
            with stream:
                while index < stop:
                    try:
                        chunk = read_full(stream, min(CHUNK_BYTES, ref.size_bytes - index * CHUNK_BYTES))
                    except CorruptObject:
                        chunk = b""
                    if not digests.matches(index, chunk):
                        is_damaged = True
                        break
                    at = index * CHUNK_BYTES
                    yield chunk[max(0, start - at) : end - at]
                    index += 1
            if index == stop:
                return
        raise self._failure(ref, is_damaged)

    def _digests(self, ref: MediaRef) -> ChunkDigests:
        key = digests_key(ref.tenant, ref.sha256)
        try:
            digests = ChunkDigests.unsealed(key, self._store.get(key), ref.size_bytes)
        except (ObjectNotFound, CorruptObject):
            digests = None
        if digests is not None:
            return digests
        is_damaged = False
        for copy in self._blobs.copies(ref.tenant, ref.sha256):
            chunks = ChunkHasher()
            try:
                is_intact = self._blobs.is_intact(copy, ref.sha256, chunks)
            except ObjectNotFound:
                continue
            if is_intact and chunks.digests is not None:
                self._keep(ref, chunks.digests)
                return chunks.digests
            is_damaged = True
        raise self._failure(ref, is_damaged)

    def _keep(self, ref: MediaRef, digests: ChunkDigests) -> None:
        """Store digests that were missing. Without them reading works all the same, so failing is no error."""
        try:
            self._blobs.write_digests(ref.tenant, ref.sha256, digests)
            # As with derived artifacts: if the blob is deleted meanwhile, one of us takes the digests away.
            self._store.head(blob_key(ref.tenant, ref.sha256))
        except ObjectNotFound:
            self._store.delete(digests_key(ref.tenant, ref.sha256))
        except StorageError as error:
            _LOG.warning("The digests of a large blob could not be written again: %s", error)

    def _failure(self, ref: MediaRef, is_damaged: bool) -> StorageError:
        if not is_damaged:
            return MediaNotFound("No media with this id was found. Upload it first, or check the id.")
        try:
            self._blobs.quarantine(ref.tenant, ref.sha256)
        except StorageError as error:  # the next reader marks it
            _LOG.warning("A damaged blob could not be marked yet: %s", error)
        return CorruptObject("The stored media is damaged and was not used. Upload it again.")
