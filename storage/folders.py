"""Folders that are there for good: made private, and synced into their parents."""

from __future__ import annotations

import threading
from collections.abc import Iterable
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
        for new in self._missing(folder):
            self._make(new)
            self._files.sync_folder(new.parent)
            with self._lock:
                self._synced[new] = True

    def make_all(self, folders: Iterable[Path]) -> None:
        """``make`` of many: all are made before the first is synced, and each parent is synced once."""
        missing = {new: None for folder in sorted(folders) for new in self._missing(folder)}
        for new in missing:
            self._make(new)
        for parent in dict.fromkeys(new.parent for new in missing):
            self._files.sync_folder(parent)
        with self._lock:
            self._synced.update((new, True) for new in missing)

    def _missing(self, folder: Path) -> list[Path]:
        """What is not known to be synced of the way to ``folder``, from the top."""
        missing = []
        while folder != self._root:
            with self._lock:
                if folder in self._synced:
                    break
            missing.append(folder)
            folder = folder.parent
        return missing[::-1]

    def _make(self, folder: Path) -> None:
        try:
            self._files.make_folder(folder)
        except (FileExistsError, NotADirectoryError):
            raise folder_conflict() from None

    def _make_root(self, folder: Path) -> None:
        """``folder`` and its missing parents, each private (``mkdir``'s own mode is not for the parents)."""
        if not folder.parent.is_dir():
            self._make_root(folder.parent)
        self._files.make_folder(folder)
        with suppress(PermissionError):  # a parent that we may not read is not of our making
            self._files.sync_folder(folder.parent)
