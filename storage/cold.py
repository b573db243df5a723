"""The cold folder of a local object store: where blobs go that nobody changed for long.

A cold blob's bytes lie at ``<cold root>/<key>~<random>``, and its key is a symbolic link to them. Every link has
a file of its own, so whoever replaces or removes a link may remove that file without asking who else uses it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from storage.filesystem import FileSystem
from storage.folders import Folders
from storage.streams import chunks

__all__ = ["ColdFolder"]


class ColdFolder:
    """Files of cold blobs below ``root``. Raises ``OSError`` as the file system does."""

    def __init__(self, root: Path, files: FileSystem) -> None:
        self._files = files
        # Links hold the path, so it must not depend on the working directory.
        self._root = root.absolute()
        self._folders = Folders(self._root, files)

    def take(self, key: str, source: BinaryIO, modified_at_ns: int) -> Path:
        """Copy ``source`` here, durably, with its time of change. Returns the copy's path."""
        path = self._new_path(key)
        try:
            with self._files.create(path) as file:
                for chunk in chunks(source):
                    self._files.write(file, chunk)
                self._files.sync(file)
            self._files.set_time(path, modified_at_ns)
            self._files.sync_folder(path.parent)
        except BaseException:
            self.drop(path)
            raise
        return path

    def copy(self, content: Path, key: str) -> Path:
        """Another durable name for a cold file, for another key. ``FileNotFoundError`` when it is gone."""
        path = self._new_path(key)
        self._files.link(content, path)
        self._files.sync_folder(path.parent)
        return path

    def drop(self, path: Path) -> None:
        """Remove a cold file; one that is gone is no error. A crash may bring it back until the next sweep."""
        with suppress(FileNotFoundError):
            self._files.unlink(path)

    def sweep(self, older_than_seconds: float, content_of: Callable[[str], Path | None]) -> None:
        """Remove files that a crash left without a link, once they are older than a time since the epoch.

        ``content_of`` gives what a key's link points at.
        """
        for path in self._walk(self._root):
            key = path.relative_to(self._root).as_posix().rpartition("~")[0]
            try:
                old = self._files.link_status(path).st_ctime < older_than_seconds
            except FileNotFoundError:
                continue
            if old and content_of(key) != path:
                self.drop(path)

    def _new_path(self, key: str) -> Path:
        path = self._root / f"{key}~{secrets.token_hex(8)}"
        self._folders.make(path.parent)
        return path

    def _walk(self, folder: Path) -> Iterator[Path]:
        for entry in self._files.entries(folder):
            if entry.is_folder:
                yield from self._walk(folder / entry.name)
            elif "~" in entry.name:  # anything else is not ours
                yield folder / entry.name
