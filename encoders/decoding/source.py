"""The decoder process's view of a medium: a seekable file over a descriptor it was sent."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, cast

__all__ = ["open_source"]

_BUFFER_BYTES = 1 << 16


def open_source(descriptor: int) -> BinaryIO:
    """A read-only file with a position of its own. It has no ``fileno``, and does not close the descriptor.

    Without one, libraries read through this object: they would otherwise duplicate the descriptor (libtiff) or
    map it, for which a closed process has no right.
    """
    return cast(BinaryIO, io.BufferedReader(_Source(descriptor), _BUFFER_BYTES))


class _Source(io.RawIOBase):
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Not fstat: where that is a look at a path (glibc), the filter of system calls does not let it through.
        self._size = os.lseek(descriptor, 0, os.SEEK_END)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("seek before the beginning")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at
