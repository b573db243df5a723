"""Checksums of a large blob's chunks, so that a part of it can be trusted without reading the whole.

A blob of more than ``SMALL_BLOB_BYTES`` has, at ``digests/<tenant>/<sha256>``, the SHA-256 of each of its chunks of
``CHUNK_BYTES``, sealed (``storage.framing``). They are computed in the same pass as the blob's own hash and written
before the blob. They can always be computed again, so missing or damaged ones cost one pass over the blob, no more.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from storage.framing import seal, unseal

__all__ = ["CHUNK_BYTES", "SMALL_BLOB_BYTES", "ChunkDigests", "ChunkHasher"]

CHUNK_BYTES = 4 << 20
SMALL_BLOB_BYTES = 8 << 20
_HEADER = struct.Struct("<QI")  # blob size, chunk size
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class ChunkDigests:
    """The SHA-256 of every chunk of a blob of ``size_bytes``, one after the other."""

    size_bytes: int
    packed: bytes

    def matches(self, index: int, chunk: bytes) -> bool:
        """Whether ``chunk`` is chunk number ``index`` of the blob."""
        expected = self.packed[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES]
        return hashlib.sha256(chunk).digest() == expected

    def sealed(self, key: str) -> bytes:
        """The digests as they are stored under ``key``."""
        return seal(key, _HEADER.pack(self.size_bytes, CHUNK_BYTES) + self.packed)

    @staticmethod
    def unsealed(key: str, sealed: bytes, size_bytes: int) -> ChunkDigests | None:
        """What was stored under ``key`` for a blob of ``size_bytes``; ``None`` if these bytes are anything else."""
        value = unseal(key, sealed)
        if value is None or value[: _HEADER.size] != _HEADER.pack(size_bytes, CHUNK_BYTES):
            return None
        packed = value[_HEADER.size :]
        if len(packed) != _DIGEST_BYTES * -(-size_bytes // CHUNK_BYTES):
            return None
        return ChunkDigests(size_bytes, packed)


class ChunkHasher:
    """Chunk digests of bytes as they pass by."""

    def __init__(self) -> None:
        self._chunk = hashlib.sha256()
        self._finished = bytearray()
        self.size_bytes = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            room = CHUNK_BYTES - self.size_bytes % CHUNK_BYTES
            self._chunk.update(view[:room])
            self.size_bytes += len(view[:room])
            view = view[room:]
            if self.size_bytes % CHUNK_BYTES == 0:
                self._finished += self._chunk.digest()
                self._chunk = hashlib.sha256()

    @property
    def digests(self) -> ChunkDigests | None:
        """The digests of everything so far; ``None`` when it is small enough to need none."""
        if self.size_bytes <= SMALL_BLOB_BYTES:
            return None
        last = self._chunk.digest() if self.size_bytes % CHUNK_BYTES else b""
        return ChunkDigests(self.size_bytes, bytes(self._finished) + last)
