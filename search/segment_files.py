"""Files of saved segments: in the object store, by their SHA-256, and as this machine's copies, which are mapped.

A collection's manifest names what its segments are made of. It carries a checksum, files are hashed before they are
used, so a flipped bit anywhere is noticed; then the segment is built again from the table. Nothing here is the
truth: all of it may be lost or deleted at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from search.errors import CorruptSegment, SearchUnavailable
from search.segment_record import SavedFile, SegmentRecord
from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import CorruptObject, ObjectNotFound, StorageError
from storage.objects import ObjectStore

__all__ = ["SegmentFiles", "remove_unnamed"]

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_PREFIX = "search/segments/"
_MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished-"
_CHUNK_BYTES = 1 << 20
_GRACE_SECONDS = 24 * 3600.0


class SegmentFiles:
    """Those of one collection. Threads and processes may share the store and the folder."""

    def __init__(self, objects: ObjectStore, cache_folder: Path, tenant: str, uid: str) -> None:
        self._objects = objects
        self._cache_folder = cache_folder
        self._prefix = f"{_PREFIX}{tenant}/{uid}/"
        self._damaged: set[str] = set()

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """The path of a new file to write, which is gone afterwards unless it was ``adopted``."""
        try:
            self._cache_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SearchUnavailable("The folder for copies of search indexes cannot be made.") from error
        path = self._cache_folder / f"{_UNFINISHED}{secrets.token_hex(16)}"
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def adopted(self, path: Path) -> SavedFile:
        """Give a complete file its name in the folder."""
        sha256, size_bytes = _hashed(path)
        os.replace(path, self._cache_folder / sha256)
        return SavedFile(sha256, size_bytes)

    def path(self, file: SavedFile) -> Path:
        """Where the copy of a file lies that ``fetched`` or ``adopted`` put there."""
        return self._cache_folder / file.sha256

    def fetched(self, file: SavedFile) -> Path:
        """The path of this machine's copy, hashed just now, fetched when there is none or it is damaged. Raises
        ``CorruptSegment`` when the store has no good one either, and ``SearchUnavailable``.
        """
        path = self.path(file)
        with suppress(OSError):
            if _hashed(path) == (file.sha256, file.size_bytes):
                return path
            _LOG.warning("A copy of a search index was damaged; it is fetched again.")
            path.unlink(missing_ok=True)
        with self.unfinished() as unfinished:
            try:
                with (
                    self._objects.open(self._prefix + file.sha256) as source,
                    unfinished.open("wb") as target,
                ):
                    while chunk := source.read(_CHUNK_BYTES):
                        target.write(chunk)
                sound = _hashed(unfinished) == (file.sha256, file.size_bytes)
                if sound:
                    os.replace(unfinished, path)
            except (ObjectNotFound, CorruptObject) as error:
                self._damaged.add(file.sha256)
                raise CorruptSegment("A file of a saved segment is missing or damaged.") from error
            except StorageError as error:
                raise SearchUnavailable(error.message) from error
            except OSError as error:
                raise SearchUnavailable("A search index cannot be copied to this machine.") from error
            if not sound:
                self._damaged.add(file.sha256)
                raise CorruptSegment("A file of a saved segment does not match its hash.")
        return path

    def save(self, records: Sequence[SegmentRecord]) -> None:
        """Put what is not in the store yet there, then the manifest that names ``records``: all but those of which
        a file is neither there nor here (another process replaced them long ago). Raises ``SearchUnavailable``.
        """
        key = self._prefix + _MANIFEST
        saved = []
        try:
            for record in records:
                with suppress(FileNotFoundError):
                    for file in record.files():
                        self._put(file)
                    saved.append(record)
            fields = {"format": _FORMAT, "segments": [record.as_json() for record in saved]}
            self._objects.put(key, to_checked_json(key, fields))
        except StorageError as error:
            raise SearchUnavailable(error.message) from error
        except OSError as error:
            raise SearchUnavailable("A search index on this machine cannot be read.") from error

    def records(self) -> tuple[SegmentRecord, ...]:
        """What the newest manifest names; nothing when there is none or it is damaged. Raises
        ``SearchUnavailable``.
        """
        try:
            return _records(self._objects, self._prefix)
        except StorageError as error:
            raise SearchUnavailable(error.message) from error

    def _put(self, file: SavedFile) -> None:
        key = self._prefix + file.sha256
        if file.sha256 not in self._damaged:
            with suppress(ObjectNotFound):
                if self._objects.head(key).size_bytes == file.size_bytes:
                    return
        with self.path(file).open("rb") as source:
            self._objects.put(key, source)
        self._damaged.discard(file.sha256)


def remove_unnamed(
    objects: ObjectStore,
    cache_folder: Path,
    live: Mapping[str, Collection[str]],
    grace_seconds: float = _GRACE_SECONDS,
    clock: Callable[[], float] = time.time,
) -> int:
    """Delete saved files and this machine's copies that no manifest names, unless they changed within
    ``grace_seconds`` (one that is being saved is named last); returns how many bytes. ``live`` are all tenants'
    collections by their ``uid``: what others left goes too. A file that is mapped stays usable until it is let go.

    Raises ``SearchUnavailable`` when the store does not answer; then call it again another time.
    """
    removed = 0
    named: set[str] = set()
    before = clock() - grace_seconds
    try:
        wanted: set[str] = set()
        for tenant, uids in live.items():
            for uid in uids:
                prefix = f"{_PREFIX}{tenant}/{uid}/"
                files = {file.sha256 for record in _records(objects, prefix) for file in record.files()}
                named |= files
                wanted |= {prefix + name for name in files} | {prefix + _MANIFEST}
        for info in list(objects.list(_PREFIX)):
            if info.key not in wanted and info.modified_at_seconds < before:
                objects.delete(info.key)
                removed += info.size_bytes
    except StorageError as error:
        raise SearchUnavailable(error.message) from error
    with suppress(FileNotFoundError):
        for path in list(cache_folder.iterdir()):
            with suppress(OSError):
                found = path.stat()
                if path.name not in named and found.st_mtime < before:
                    path.unlink()
                    removed += found.st_size
    return removed


def _records(objects: ObjectStore, prefix: str) -> tuple[SegmentRecord, ...]:
    key = prefix + _MANIFEST
    try:
        fields = from_checked_json(key, objects.get(key))
    except (ObjectNotFound, CorruptObject):
        return ()
    try:
        if fields is None or fields["format"] != _FORMAT:
            _LOG.warning(
                "A manifest of search segments is damaged or of another version; they are built again."
            )
            return ()
        return tuple(SegmentRecord.from_json(one) for one in fields["segments"])
    except (KeyError, TypeError, ValueError):
        _LOG.warning("A manifest of search segments cannot be read; they are built again.")
        return ()


def _hashed(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()
