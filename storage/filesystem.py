"""The few calls of a POSIX file system that the local object store makes, behind one seam.

A test can put a layer here that records every write and sync (tests/crash_disk.py), or that fails. Every method
raises ``OSError`` as the system does; nothing is retried or hidden.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.errors import InvalidKey, ObjectNotFound, StorageError, StoreUnavailable

__all__ = ["FileSystem", "FolderEntry", "folder_conflict", "not_found", "translated"]

_LOG = logging.getLogger(__name__)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LOCK_TIMEOUT_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A name in a folder. A symbolic link is not a folder, whatever it points at."""

    name: str
    is_folder: bool


class FileSystem:
    """The operating system's own calls. Stateless and picklable."""

    # writing

    def create(self, path: Path) -> BinaryIO:
        """A new file to write; ``FileExistsError`` when the name is taken."""
        return path.open("xb")

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Append ``data`` to a file that ``create`` gave."""
        file.write(data)

    def sync(self, file: BinaryIO) -> None:
        """Make what was written durable. The file's name is not: see ``sync_folder``."""
        file.flush()
        os.fsync(file.fileno())

    def sync_folder(self, folder: Path) -> None:
        """Make the names in ``folder`` durable: fsync of a file does not sync its directory entry (fsync(2))."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_folder(self, folder: Path) -> None:
        """Make a folder that is its owner's alone. One that was there keeps its permissions; anything else of
        that name is ``FileExistsError``.
        """
        folder.mkdir(mode=0o700, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        """Move a name over another, atomically."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; ``FileExistsError`` when that is taken."""
        os.link(source, target)

    def link_symbolic(self, content: Path, path: Path) -> None:
        """A symbolic link at ``path``; ``FileExistsError`` when the name is taken."""
        path.symlink_to(content)

    def unlink(self, path: Path) -> None:
        """Remove a name. ``FileNotFoundError`` when there is none."""
        path.unlink()

    def set_time(self, path: Path, modified_at_ns: int) -> None:
        """Set the time of change, nanoseconds since the epoch."""
        os.utime(path, ns=(modified_at_ns, modified_at_ns))

    # reading

    def open(self, path: Path) -> BinaryIO:
        """An existing file to read, whole even if its name is replaced or removed meanwhile."""
        return path.open("rb")

    def status(self, path: Path) -> os.stat_result:
        """Status of the file itself, of what a symbolic link points at."""
        return path.stat()

    def link_status(self, path: Path) -> os.stat_result:
        """Status of the name: a symbolic link's own."""
        return path.lstat()

    def read_link(self, path: Path) -> Path:
        """What a symbolic link points at; ``OSError`` (``EINVAL``) for anything else."""
        return path.readlink()

    def entries(self, folder: Path) -> list[FolderEntry]:
        """The names in a folder, in no order."""
        with os.scandir(folder) as found:
            return [FolderEntry(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]

    @contextmanager
    def locked(self, path: Path, exclusive: bool) -> Iterator[None]:
        """Hold the advisory lock file ``path``, shared or alone, among threads and processes.
        ``TimeoutError`` after ten seconds.
        """
        # A descriptor for each caller: the lock belongs to the open file.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = time.monotonic() + _LOCK_TIMEOUT_SECONDS
            while not _try_lock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH):
                if time.monotonic() > deadline:
                    raise TimeoutError(errno.ETIMEDOUT, "the lock was not to be had")
                time.sleep(_LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def not_found() -> ObjectNotFound:
    """The error for a key without an object."""
    return ObjectNotFound("No object lies under that key.")


def folder_conflict() -> InvalidKey:
    """The error for a key that would need a file where a folder is, or a folder where a file is."""
    return InvalidKey("An object key may not be a folder of another object's key.")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the file system's errors into ours; the original words stay in the log and in ``__cause__``."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if what == "read" and isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            raise not_found() from error
        if what == "written" and isinstance(error, IsADirectoryError):
            raise folder_conflict() from error
        _LOG.error("The object store could not be %s: %s", what, error)
        if error.errno in _FULL:
            raise StoreUnavailable("The object store is full. Add disk space, then try again.") from error
        raise StoreUnavailable(f"The object store could not be {what}. Try again later.") from error
