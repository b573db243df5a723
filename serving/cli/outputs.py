"""Bytes that a command writes: into a file, or into a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from serving.cli.failures import UnusableInput

__all__ = ["WholeFile", "write_pieces"]


def write_pieces(pieces: Iterable[bytes], target: Path | None) -> int:
    """Write to a file, or without one to standard output as they come; how many bytes. Raises ``UnusableInput``."""
    size_bytes = 0
    if target is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            size_bytes += len(piece)
        return size_bytes
    with WholeFile(target) as file:
        for piece in pieces:
            file.write(piece)
            size_bytes += len(piece)
    return size_bytes


class WholeFile:
    """A file that appears when it is whole, or not at all. What is there and no file, as a device or a pipe, is
    written to as it is. Raises ``UnusableInput`` when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            raise UnusableInput(f"'{path}' is a folder: give the name of a file.")
        self._path = path
        is_file = path.is_file() or not path.exists()
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part") if is_file else path

    def __enter__(self) -> BinaryIO:
        try:
            self._file = self._part.open("wb")
        except OSError as error:
            raise UnusableInput(f"'{self._path}' cannot be written: {error.strerror or error}.") from None
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        whole = False
        try:
            self._file.close()  # which writes what is left, and may fail as any writing
            whole = kind is None
        finally:
            if self._part != self._path:
                if whole:
                    self._part.replace(self._path)
                else:
                    with contextlib.suppress(OSError):
                        self._part.unlink()
