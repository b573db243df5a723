"""Binary streams in pieces: what both object stores do with a body and with a range."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["EmptyStream", "Section", "chunks", "read_full"]

_CHUNK_BYTES = 1 << 20


def chunks(data: bytes | BinaryIO) -> Iterator[bytes]:
    """Bytes as they are, a stream from its position to its end a MiB at a time."""
    if isinstance(data, bytes):
        yield data
        return
    while chunk := data.read(_CHUNK_BYTES):
        yield chunk


def read_full(stream: BinaryIO, size_bytes: int) -> bytes:
    """``size_bytes`` of the stream, fewer only at its end: a raw stream may give less at a time."""
    data = stream.read(size_bytes)
    if not data or len(data) == size_bytes:
        return data
    pieces, missing = [data], size_bytes - len(data)
    while missing and (data := stream.read(missing)):
        pieces.append(data)
        missing -= len(data)
    return b"".join(pieces)


class Section(io.RawIOBase):
    """The next ``left_bytes`` of a file, which it closes."""

    def __init__(self, file: BinaryIO, left_bytes: int) -> None:
        self._file = file
        self._left_bytes = left_bytes

    def readable(self) -> bool:
        return True

    # The type in typeshed is a buffer that mypy cannot slice.
    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left_bytes))
        self._left_bytes -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class EmptyStream(io.RawIOBase):
    """A stream at its end."""

    def readable(self) -> bool:
        return True

    # The type in typeshed is a buffer that mypy cannot slice.
    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return 0
