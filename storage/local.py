"""The object store in a local directory.

Objects lie at ``<root>/objects/<key>``; bytes being written lie in ``<root>/staging`` (same file system)
and only get a key when complete: file synced, then ``rename`` (put) or ``link``, which fails when the name
is taken (put if absent), then the folder synced. A crash leaves at most a staging file, which nothing
reads. Every folder made here, the root and its parents too, is its owner's alone; one that was there keeps the
permissions that it was given.

Objects are files that never change: replaced by another file, never written again. So a copy is a second name of
the same file. Blobs that have become cold are symbolic links into the cold folder (``storage.cold``); putting
such a link in a blob's place is the one change that is not a caller's, so it holds a lock alone while callers
that replace, remove or copy a blob share it. Else a blob deleted meanwhile would come back.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from storage.cold import ColdFolder
from storage.errors import StoreUnavailable
from storage.filesystem import FileSystem, folder_conflict, not_found, translated
from storage.folders import Folders
from storage.group_commit import link_all
from storage.keys import check_object_key, check_object_prefix
from storage.objects import Body
from storage.streams import Section, chunks
from storage.types import ObjectInfo, TierPolicy

__all__ = ["LocalObjectStore"]

_DAY_SECONDS = 24 * 3600.0
_BLOBS = "blobs/"  # what becomes cold
_MISSING = (FileNotFoundError, NotADirectoryError)
_ATTEMPTS = 20  # at looking at an object that others replace meanwhile


class LocalObjectStore:
    """``storage.objects.ObjectStore`` on a directory of one machine. Threads and processes may share it.

    ``cold_root`` is a folder on cheaper storage for blobs that ``apply_tiers`` finds old enough. Once it holds
    any it must keep its path. ``files`` is the seam to the operating system.

    Raises ``StoreUnavailable`` when the directory cannot be made. Call ``probe`` once before trusting it.
    """

    def __init__(self, root: Path, cold_root: Path | None = None, files: FileSystem | None = None) -> None:
        self._root = root
        self._cold_root = cold_root
        self._files = FileSystem() if files is None else files
        self._objects = root / "objects"
        self._staging = root / "staging"
        self._lock = root / "tiers.lock"
        with translated("prepared"):
            self._folders = Folders(root, self._files)
            self._folders.make(self._objects)
            self._folders.make(self._staging)
            self._cold = None if cold_root is None else ColdFolder(cold_root, self._files)

    def __reduce__(self) -> tuple[type[LocalObjectStore], tuple[Path, Path | None, FileSystem]]:
        # A store travels to other processes as its settings; locks and caches stay behind.
        return LocalObjectStore, (self._root, self._cold_root, self._files)

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
        with self.open(key) as stream, translated("read"):
            return stream.read()

    def open(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> BinaryIO:
        """See ``ObjectStore.open``. POSIX keeps an open file whole after rename or unlink."""
        path = self._path(key)
        if offset_bytes < 0 or (length_bytes is not None and length_bytes < 0):
            raise ValueError("A range of an object has no negative numbers.")
        with translated("read"):
            file = self._open(path)
            file.seek(offset_bytes)
            return file if length_bytes is None else io.BufferedReader(Section(file, length_bytes))

    def put(self, key: str, data: Body) -> None:
        """See ``ObjectStore.put``."""
        path = self._path(key)
        with self._staged(data) as staged, translated("written"):
            self._folders.make(path.parent)
            with self._steady(key):
                cold = self._cold_target(path)
                self._files.rename(staged, path)
            self._files.sync_folder(path.parent)
            self._drop_cold(cold)

    def put_if_absent(self, key: str, data: Body) -> bool:
        """See ``ObjectStore.put_if_absent``."""
        path = self._path(key)
        with translated("written"):
            if self._is_taken(path):  # spares writing a large body; the link below decides all the same
                self._settle(path)
                return False
        with self._staged(data) as staged, translated("written"):
            return self._name(path, lambda: self._files.link(staged, path))

    def put_all_if_absent(self, objects: Sequence[tuple[str, Body]]) -> list[bool]:
        """See ``storage.many.put_all_if_absent``."""
        wanted = [(self._path(key), body) for key, body in objects]
        with translated("written"):
            return link_all(self._files, self._folders, self._staging, wanted, self._is_taken)

    def copy_if_absent(self, source: str, target: str) -> bool:
        """See ``ObjectStore.copy_if_absent``. Both keys name one file then, and share its time of change: now.
        A copy of a cold object is cold.
        """
        source_path, path = self._path(source), self._path(target)
        with translated("copied"):
            for _ in range(_ATTEMPTS):
                with suppress(*_MISSING), self._steady(source):
                    return self._copy(source_path, target, path)
                self._check_still_there(source_path)
        raise _restless()

    def head(self, key: str) -> ObjectInfo:
        """See ``ObjectStore.head``."""
        path = self._path(key)
        with translated("read"):
            info = self._info(key, path)
        if info is None:
            raise not_found()
        return info

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``ObjectStore.list``. All keys come in their order here, also those of several folders."""
        check_object_prefix(prefix)
        folder, _, name_prefix = prefix.rpartition("/")
        return self._walk(self._objects / folder, f"{folder}/" if folder else "", name_prefix, after or "")

    def delete(self, key: str) -> bool:
        """See ``ObjectStore.delete``. Folders stay: removing them would race with writers."""
        path = self._path(key)
        with translated("changed"):
            with self._steady(key):
                cold = self._cold_target(path)
                try:
                    self._files.unlink(path)
                except (*_MISSING, IsADirectoryError):
                    return True
            self._files.sync_folder(path.parent)
            self._drop_cold(cold)
        return True

    def download_url(self, key: str, expires_seconds: int, content_type: str, filename: str) -> str | None:
        """See ``ObjectStore.download_url``: no link, the gateway serves local objects itself."""
        return None

    def apply_tiers(self, policy: TierPolicy) -> None:
        """See ``ObjectStore.apply_tiers``. Moves blobs unchanged for ``cold_after_days`` to the cold folder now.

        A local directory knows no warm tier, so ``warm_after_days`` changes nothing here; nor does
        ``cold_after_days`` when the store was given no cold folder.
        """
        if self._cold is None or policy.cold_after_days is None:
            return
        now = time.time()
        for info in self._walk(self._objects / "blobs", _BLOBS, "", ""):
            if info.tier == "hot" and info.modified_at_seconds < now - policy.cold_after_days * _DAY_SECONDS:
                with translated("moved to the cold folder"):
                    self._make_cold(self._cold, info.key)
        with translated("moved to the cold folder"):
            self._cold.sweep(now - _DAY_SECONDS, lambda key: self._cold_target(self._objects / key))

    def _path(self, key: str) -> Path:
        return self._objects / check_object_key(key)

    def _steady(self, key: str) -> AbstractContextManager[None]:
        """As long as this is held ``key`` does not become cold."""
        return self._files.locked(self._lock, exclusive=False) if key.startswith(_BLOBS) else nullcontext()

    def _is_taken(self, path: Path) -> bool:
        try:
            return not stat.S_ISDIR(self._files.link_status(path).st_mode)
        except _MISSING:
            return False

    def _settle(self, path: Path) -> None:
        """Whoever made this name may not have synced it yet, and our answer promises durability."""
        self._folders.make(path.parent)
        self._files.sync_folder(path.parent)

    def _name(self, path: Path, link: Callable[[], None]) -> bool:
        """Give a complete file its name by ``link``, durably, unless the name is taken."""
        self._folders.make(path.parent)
        while True:
            try:
                link()
            except FileExistsError:
                if self._is_taken(path):
                    self._files.sync_folder(path.parent)
                    return False
                with suppress(*_MISSING):
                    self._files.link_status(path)
                    raise folder_conflict() from None
                continue  # deleted between the two looks: the name is free again
            self._files.sync_folder(path.parent)
            return True

    def _copy(self, source: Path, target: str, path: Path) -> bool:
        """One try of ``copy_if_absent``; ``FileNotFoundError`` when the source changes under it."""
        cold = self._cold_target(source)
        content = source if cold is None else cold
        if not stat.S_ISREG(self._files.link_status(content).st_mode):
            raise not_found()
        if self._is_taken(path):
            self._settle(path)
            return False
        # Before the link: who collects garbage by its age must never see the copy as old.
        self._files.set_time(content, time.time_ns())
        if cold is None:
            return self._name(path, lambda: self._files.link(source, path))
        if self._cold is None:
            raise _cold_folder_missing()
        copied = self._cold.copy(cold, target)
        created = False
        try:
            created = self._name(path, lambda: self._files.link_symbolic(copied, path))
        finally:
            if not created:
                self._cold.drop(copied)
        return created

    def _make_cold(self, cold: ColdFolder, key: str) -> None:
        """Move one blob to the cold folder, unless it changes meanwhile. After a crash it may be hot again."""
        path, link, moved = self._path(key), self._staging / secrets.token_hex(16), False
        try:
            file = self._files.open(path)
        except FileNotFoundError:
            return
        with file:  # open until the end, so that no other file can get its inode number
            status = os.fstat(file.fileno())
            content = cold.take(key, file, status.st_mtime_ns)
            try:
                self._files.link_symbolic(content, link)
                with suppress(FileNotFoundError), self._files.locked(self._lock, exclusive=True):
                    if os.path.samestat(self._files.link_status(path), status):
                        self._files.rename(link, path)
                        moved = True
            finally:
                if not moved:
                    cold.drop(content)
                    with suppress(FileNotFoundError):
                        self._files.unlink(link)

    def _cold_target(self, path: Path) -> Path | None:
        """What the symbolic link of a cold object points at; ``None`` for anything else."""
        try:
            return self._files.read_link(path)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    def _drop_cold(self, content: Path | None) -> None:
        """Remove a cold file whose link is durably gone."""
        if content is not None:
            with suppress(FileNotFoundError):
                self._files.unlink(content)

    def _check_still_there(self, path: Path) -> None:
        """After a ``FileNotFoundError``: return if the object is there, changed or cold in the meantime."""
        content = self._cold_target(path)
        try:
            self._files.link_status(path if content is None else content)
        except _MISSING:
            if content is None:
                raise not_found() from None
            if self._cold_target(path) == content:
                raise _cold_folder_missing() from None

    def _open(self, path: Path) -> BinaryIO:
        for _ in range(_ATTEMPTS):
            with suppress(FileNotFoundError):
                return self._files.open(path)
            self._check_still_there(path)
        raise _restless()

    def _info(self, key: str, path: Path) -> ObjectInfo | None:
        for _ in range(_ATTEMPTS):
            try:
                status = self._files.link_status(path)
            except _MISSING:
                return None
            if stat.S_ISREG(status.st_mode):
                return ObjectInfo(key, status.st_size, status.st_mtime)
            if not stat.S_ISLNK(status.st_mode):
                return None
            with suppress(FileNotFoundError):
                status = self._files.status(path)
                return ObjectInfo(key, status.st_size, status.st_mtime, "cold")
            if self._is_taken(path):
                self._check_still_there(path)
        raise _restless()

    @contextmanager
    def _staged(self, data: Body) -> Iterator[Path]:
        """``data`` in a synced staging file; the file's own name is gone when the context ends."""
        path = self._staging / secrets.token_hex(16)
        try:
            with translated("written"):
                file = self._files.create(path)
            try:
                for chunk in chunks(data):
                    with translated("written"):
                        self._files.write(file, chunk)
                with translated("written"):
                    self._files.sync(file)
            finally:
                with suppress(OSError):  # all is synced, or closing fails as writing has
                    file.close()
            yield path
        finally:
            with suppress(OSError):  # put has renamed it away, or it is swept when it is old
                self._files.unlink(path)

    def _walk(self, folder: Path, key_prefix: str, name_prefix: str, after: str) -> Iterator[ObjectInfo]:
        with translated("listed"):
            try:
                found = self._files.entries(folder)
            except _MISSING:
                return
        # A folder sorts as its keys do: "a/b" comes after "a-b" and before "a0".
        names = sorted(f"{entry.name}/" if entry.is_folder else entry.name for entry in found)
        for name in names:
            key = key_prefix + name
            if not name.startswith(name_prefix) or (key <= after and not after.startswith(key)):
                continue
            if name.endswith("/"):
                yield from self._walk(folder / name, key, "", after)
            elif key > after:
                with translated("listed"):
                    info = self._info(key, folder / name)
                if info is not None:  # else deleted meanwhile
                    yield info

    def _sweep_staging(self) -> None:
        limit = time.time() - _DAY_SECONDS
        with translated("prepared"):
            for entry in self._files.entries(self._staging):
                with suppress(FileNotFoundError):  # another process sweeps too
                    if self._files.link_status(self._staging / entry.name).st_mtime < limit:
                        self._files.unlink(self._staging / entry.name)


def _restless() -> StoreUnavailable:
    return StoreUnavailable("The object was replaced again and again meanwhile. Try again later.")


def _cold_folder_missing() -> StoreUnavailable:
    return StoreUnavailable(
        "The object is in the cold folder, which is not there. Mount it at its configured path, then try again."
    )
