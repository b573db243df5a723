"""Folders that are there for good: made private, and synced into their parents."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from cachetools import LRUCache

from storage.filesystem import FileSystem, folder_conflict

__all__ = ["Folders"]


class Folders:
    """Makes folders below ``root``, and ``root`` with its parents. Threads and processes may do so at once.

    Raises ``OSError`` as the file system does.
    """

    def __init__(self, root: Path, files: FileSystem) -> None:
        self._root = root
        self._files = files
        # Folders whose own name is known to be synced into their parent; bounded, a miss costs one fsync.
        self._synced: LRUCache[Path, bool] = LRUCache(maxsize=16_384)
        self._lock = threading.Lock()
        self._make_root(root)

    def make(self, folder: Path) -> None:
        """Make ``folder`` and see that every folder down to it is synced, whoever made it."""
        missing = []
        while folder != self._root:
            with self._lock:
                if folder in self._synced:
                    break
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            try:
                self._files.make_folder(new)
            except (FileExistsError, NotADirectoryError):
                raise folder_conflict() from None
            self._files.sync_folder(new.parent)
            with self._lock:
                self._synced[new] = True

    def _make_root(self, folder: Path) -> None:
        """``folder`` and its missing parents, each private (``mkdir``'s own mode is not for the parents)."""
        if not folder.parent.is_dir():
            self._make_root(folder.parent)
        self._files.make_folder(folder)
        with suppress(PermissionError):  # a parent that we may not read is not of our making
            self._files.sync_folder(folder.parent)
