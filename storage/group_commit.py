"""Many new files on a local disk, made durable together.

One by one every file waits for the file system's journal several times: for its content, its name, its new folders.
Here each of these is done for all files before any of it is synced, so that the first sync takes the others'
changes along and the rest find little left to do. What is promised is the same: every content is synced before it
gets its name, and every name and folder before the call returns.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from storage.filesystem import FileSystem
from storage.folders import Folders
from storage.objects import Body
from storage.streams import chunks

__all__ = ["link_all"]


def link_all(
    files: FileSystem,
    folders: Folders,
    staging: Path,
    objects: Sequence[tuple[Path, Body]],
    is_taken: Callable[[Path], bool],
) -> list[bool]:
    """Write each body under its path unless that is taken; which were written. Raises ``OSError``."""
    made: list[bool] = []
    with ExitStack() as undone:
        staged = [_staged(files, staging / secrets.token_hex(16), body, undone) for _, body in objects]
        for _, file in staged:
            files.sync(file)
        folders.make_all({path.parent for path, _ in objects})
        for (path, _), (temporary, _) in zip(objects, staged, strict=True):
            try:
                files.link(temporary, path)
                made.append(True)
            except FileExistsError:
                if not is_taken(path):
                    raise
                made.append(False)
        for folder in sorted({path.parent for path, _ in objects}):
            files.sync_folder(folder)
    return made


def _staged(files: FileSystem, path: Path, body: Body, undone: ExitStack) -> tuple[Path, BinaryIO]:
    file = files.create(path)
    undone.callback(_removed, files, path)
    undone.callback(_closed, file)
    for chunk in chunks(body):
        files.write(file, chunk)
    return path, file


def _closed(file: BinaryIO) -> None:
    with suppress(OSError):  # all is synced, or an error is on its way already
        file.close()


def _removed(files: FileSystem, path: Path) -> None:
    with suppress(OSError):  # it is swept when it is old
        files.unlink(path)
