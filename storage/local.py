"""The object store in a local directory.

Objects lie at ``<root>/objects/<key>``; bytes being written lie in ``<root>/staging`` (same file system)
and only get a key when complete: file synced, then ``rename`` (put) or ``link``, which fails when the name
is taken (put if absent), then the folder synced. A crash leaves at most a staging file, which nothing
reads. Every folder made here, the root and its parents too, is its owner's alone; one that was there keeps the
permissions that it was given.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cachetools import LRUCache

from storage.errors import InvalidKey, ObjectNotFound, StorageError, StoreUnavailable
from storage.keys import check_object_key, check_object_prefix
from storage.objects import Body
from storage.types import ObjectInfo

__all__ = ["LocalObjectStore"]

_LOG = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 20
_STALE_STAGING_SECONDS = 24 * 3600.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LocalObjectStore:
    """``storage.objects.ObjectStore`` on a directory of one machine. Threads and processes may share it.

    Raises ``StoreUnavailable`` when the directory cannot be made. Call ``probe`` once before trusting it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._objects = root / "objects"
        self._staging = root / "staging"
        # Folders whose own name is known to be synced into their parent; bounded, a miss costs one fsync.
        self._synced_folders: LRUCache[Path, bool] = LRUCache(maxsize=16_384)
        self._synced_lock = threading.Lock()
        with _translated("prepared"):
            for folder in (self._objects, self._staging):
                _make_private(folder)
            _sync_folder(root)

    def __reduce__(self) -> tuple[type[LocalObjectStore], tuple[Path]]:
        # A store travels to other processes as its settings; locks and caches stay behind.
        return LocalObjectStore, (self._root,)

    def probe(self) -> None:
        """See ``ObjectStore.probe``. Also removes staging files that a crash left more than a day ago."""
        self._sweep_staging()
        key = f"probe/{secrets.token_hex(16)}"
        try:
            first = self.put_if_absent(key, b"first")
            second = self.put_if_absent(key, b"second")
            kept = self.get(key)
        finally:
            self.delete(key)
        if not first or second or kept != b"first":
            raise StoreUnavailable(
                "The object store's file system overwrites an existing file on a conditional write. "
                "Use a local file system (ext4, xfs, btrfs) for the data folder."
            )

    def get(self, key: str) -> bytes:
        """See ``ObjectStore.get``."""
        with self.open(key) as stream, _translated("read"):
            return stream.read()

    def open(self, key: str) -> BinaryIO:
        """See ``ObjectStore.open``. POSIX keeps an open file whole after rename or unlink."""
        path = self._path(key)
        with _translated("read"):
            return path.open("rb")

    def put(self, key: str, data: Body) -> None:
        """See ``ObjectStore.put``."""
        path = self._path(key)
        with self._staged(data) as staged, _translated("written"):
            self._make_folder(path.parent)
            staged.replace(path)
            _sync_folder(path.parent)

    def put_if_absent(self, key: str, data: Body) -> bool:
        """See ``ObjectStore.put_if_absent``."""
        path = self._path(key)
        if self._is_file(path):  # spares writing a large body; the link below decides all the same
            with _translated("written"):
                self._make_folder(path.parent)
                _sync_folder(path.parent)
            return False
        with self._staged(data) as staged, _translated("written"):
            self._make_folder(path.parent)
            created = self._link(staged, path)
            # Also when another writer was first: it may not have synced yet, and our answer promises
            # durability.
            _sync_folder(path.parent)
        return created

    def head(self, key: str) -> ObjectInfo:
        """See ``ObjectStore.head``."""
        path = self._path(key)
        with _translated("read"):
            status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _not_found()
        return ObjectInfo(key, status.st_size, status.st_mtime)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``ObjectStore.list``."""
        check_object_prefix(prefix)
        folder, _, name_prefix = prefix.rpartition("/")
        return self._walk(self._objects / folder, f"{folder}/" if folder else "", name_prefix)

    def delete(self, key: str) -> None:
        """See ``ObjectStore.delete``. Folders stay: removing them would race with writers."""
        path = self._path(key)
        with _translated("changed"):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            _sync_folder(path.parent)

    def _path(self, key: str) -> Path:
        return self._objects / check_object_key(key)

    @staticmethod
    def _is_file(path: Path) -> bool:
        with _translated("read"):
            try:
                return stat.S_ISREG(path.stat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    @classmethod
    def _link(cls, staged: Path, path: Path) -> bool:
        """Give ``staged`` its name unless the name is taken."""
        while True:
            try:
                os.link(staged, path)
                return True
            except FileExistsError:
                if path.is_dir():
                    raise _folder_conflict() from None
                if cls._is_file(path):
                    return False
                # deleted between the two looks: the name is free again

    @contextmanager
    def _staged(self, data: Body) -> Iterator[Path]:
        """``data`` in a synced staging file; the file's own name is gone when the context ends."""
        path = self._staging / secrets.token_hex(16)
        try:
            with _translated("written"):
                file = path.open("xb")
            with file:
                for chunk in _chunks(data):
                    with _translated("written"):
                        file.write(chunk)
                with _translated("written"):
                    file.flush()
                    os.fsync(file.fileno())
            yield path
        finally:
            with suppress(FileNotFoundError):  # put renames it away
                path.unlink()

    def _make_folder(self, folder: Path) -> None:
        """Make ``folder`` and see that every folder down to it is synced, whoever made it."""
        missing = []
        while folder != self._objects:
            with self._synced_lock:
                if folder in self._synced_folders:
                    break
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            try:
                new.mkdir(mode=0o700, exist_ok=True)
            except FileExistsError:
                raise _folder_conflict() from None
            _sync_folder(new.parent)
            with self._synced_lock:
                self._synced_folders[new] = True

    def _walk(self, folder: Path, key_prefix: str, name_prefix: str) -> Iterator[ObjectInfo]:
        with _translated("listed"):
            try:
                with os.scandir(folder) as entries:
                    found = [entry for entry in entries if entry.name.startswith(name_prefix)]
            except (FileNotFoundError, NotADirectoryError):
                return
            # A folder sorts as its keys do: "a/b" comes after "a-b" and before "a0".
            named = sorted((entry.name + ("/" if entry.is_dir() else ""), entry) for entry in found)
        for name, entry in named:
            if name.endswith("/"):
                yield from self._walk(folder / entry.name, key_prefix + name, "")
                continue
            with _translated("listed"):
                try:
                    status = entry.stat()
                except FileNotFoundError:  # deleted meanwhile
                    continue
            yield ObjectInfo(key_prefix + name, status.st_size, status.st_mtime)

    def _sweep_staging(self) -> None:
        limit = time.time() - _STALE_STAGING_SECONDS
        with _translated("prepared"), os.scandir(self._staging) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process sweeps too
                    if entry.stat().st_mtime < limit:
                        os.unlink(entry.path)


def _make_private(folder: Path) -> None:
    """Make ``folder`` and its missing parents with mode 0700 (``mkdir``'s own mode is not for the parents)."""
    if not folder.parent.is_dir():
        _make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def _chunks(data: Body) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    while chunk := data.read(_CHUNK_BYTES):
        yield chunk


def _sync_folder(folder: Path) -> None:
    """Make names in ``folder`` durable: fsync of a file does not sync its directory entry (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_found() -> ObjectNotFound:
    return ObjectNotFound("No object lies under that key.")


def _folder_conflict() -> InvalidKey:
    return InvalidKey("An object key may not be a folder of another object's key.")


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn the file system's errors into ours; the original words stay in the log and in ``__cause__``."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if what == "read" and isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            raise _not_found() from error
        if what == "written" and isinstance(error, IsADirectoryError):
            raise _folder_conflict() from error
        _LOG.error("The object store could not be %s: %s", what, error)
        if error.errno in _FULL:
            raise StoreUnavailable("The object store is full. Add disk space, then try again.") from error
        raise StoreUnavailable(f"The object store could not be {what}. Try again later.") from error
