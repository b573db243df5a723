"""A medium on its way to a decoder process: an open file of which nothing can be written and no place disturbed."""

from __future__ import annotations

import fcntl
import os
import stat
from typing import BinaryIO

__all__ = ["Medium"]

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Medium:
    """Bytes, or a file, as a descriptor that may be given away.

    Bytes are written into anonymous memory that is then sealed, no sooner than ``descriptor`` is called. A file
    is opened anew, for reading only: the two share no position, and the given file may be closed at once.
    """

    def __init__(self, source: bytes | BinaryIO) -> None:
        """Raises ``ValueError`` for a file that is no regular one (a pipe, a socket, bytes in memory)."""
        self._data: bytes | None = None
        self._descriptor: int | None = None
        if isinstance(source, bytes):
            self._data = source
        else:
            self._descriptor = _opened_anew(source)

    def descriptor(self) -> int:
        """The descriptor; it stays this object's."""
        if self._descriptor is None:
            if self._data is None:
                raise ValueError("the medium is closed")
            self._descriptor, self._data = _sealed(self._data), None
        return self._descriptor

    def close(self) -> None:
        """Let the medium go."""
        descriptor, self._descriptor, self._data = self._descriptor, None, None
        if descriptor is not None:
            os.close(descriptor)


def _opened_anew(file: BinaryIO) -> int:
    descriptor = file.fileno()
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ValueError("a medium must be bytes or a regular file")
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


def _sealed(data: bytes) -> int:
    descriptor = os.memfd_create("medium", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
