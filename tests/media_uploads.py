"""Small steps of the media tests: streams that cannot seek, an upload in one call, listings of keys."""

from __future__ import annotations

import hashlib
import io
from typing import Any, BinaryIO, cast

from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.types import INLINE, MediaRecord

__all__ = ["GeneratedStream", "Unseekable", "keys", "sha256", "upload"]


class Unseekable(io.RawIOBase):
    """A stream as a socket gives it: read once, in pieces of odd sizes."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    # The type in typeshed is a buffer that mypy cannot slice.
    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._data.read(min(len(buffer), 300_007))
        buffer[: len(data)] = data
        return len(data)


class GeneratedStream(io.RawIOBase):
    """``size_bytes`` that are nowhere in memory: one MiB again and again, each with its number in front."""

    def __init__(self, size_bytes: int) -> None:
        self._block = hashlib.sha256(b"block").digest() * (1 << 15)
        self._left_bytes = size_bytes
        self._number = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size >= len(self._block)
        size = min(len(self._block), self._left_bytes)
        self._left_bytes -= size
        self._number += 1
        return (self._number.to_bytes(8, "little") + self._block[8:])[:size]

    # The type in typeshed is a buffer that mypy cannot slice.
    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def upload(
    media: MediaStore, data: bytes, tenant: str = "acme", *, seekable: bool = True, **fields: Any
) -> MediaRecord:
    """Receive and commit; ``fields`` are ``commit``'s."""
    stream = io.BytesIO(data) if seekable else cast(BinaryIO, Unseekable(data))
    inline = fields.get("purpose") == INLINE
    ref = media.receive(tenant, stream, "image/png", 1 << 40, inline=inline)
    return media.commit(ref, **{"filename": "photo.png", **fields})


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    """All keys below ``prefix``."""
    return [info.key for info in store.list(prefix)]


def sha256(data: bytes) -> str:
    """Its hash in hex."""
    return hashlib.sha256(data).hexdigest()
