"""Large files that arrive in parts, over the object store: nothing is held in a process between two requests.

Objects of one upload:

- ``uploads/<tenant>/<upload id>.json``: what was announced, written once.
- ``parts/<tenant>/<upload id>/<part id>``: the parts (``storage.upload_parts``).
- ``uploads/<tenant>/<upload id>.<file id>``: empty; says that a file is about to be made of the parts.
- ``uploads/<tenant>/<upload id>.outcome.json``: how it ended. Of all that would end an upload (completions,
  cancellation, the sweep) exactly one writes it, by ``put_if_absent``.

A completion notes the file's id, makes the file, then writes the outcome; one that comes second removes its file.
A crash in between leaves a file that nobody was told of: the sweep knows it from its note, and a repeated
completion makes another one. The parts and the winner's note are deleted after the outcome is durable, all else a
day later.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, BinaryIO, Literal

from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import (
    CorruptObject,
    InvalidKey,
    MediaNotFound,
    ObjectNotFound,
    StorageError,
    UploadClosed,
    UploadMismatch,
    UploadNotFound,
)
from storage.keys import check_tenant
from storage.media import MediaStore
from storage.objects import ObjectStore, exists
from storage.types import ObjectInfo
from storage.upload_parts import PART_ID, new_part_id, open_parts

__all__ = ["Upload", "UploadPart", "UploadStatus", "UploadStore"]

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]

_LOG = logging.getLogger(__name__)
_ID = re.compile(r"upload_[0-9a-f]{32}")
_OWNED = re.compile(rf"(?:uploads|parts)/([^/]+)/({_ID.pattern})[./][^/]+")
_LIFETIME_SECONDS = 3600
# A completion that began in time may still be reading the parts of an upload that has expired meanwhile.
_GRACE_SECONDS = 3600.0
_KEPT_SECONDS = 24 * 3600.0  # how long a repeated completion is answered with the same file
_SPARE_PARTS_BYTES = 64 << 20
_MAX_PARTS = 10_000
_VERSION = 1
_OUTCOME = "outcome.json"


@dataclass(frozen=True, slots=True)
class Upload:
    """What was announced, and how far it is.

    ``size_bytes`` is what all parts together must have. ``file_expires_after_seconds`` counts from the file's
    creation. ``file_id`` is set when ``status`` is ``completed``; that file may have been deleted since.
    """

    id: str
    tenant: str
    filename: str
    purpose: str
    size_bytes: int
    created_at_seconds: int
    expires_at_seconds: int
    file_expires_after_seconds: int | None = None
    status: UploadStatus = "pending"
    file_id: str | None = None


@dataclass(frozen=True, slots=True)
class UploadPart:
    """A stored part."""

    id: str
    upload_id: str
    created_at_seconds: int


class UploadStore:
    """Uploads over an ``ObjectStore``. Threads and processes may share the store behind it.

    ``clock`` gives seconds since the epoch. Ids of other tenants, unknown and malformed ones raise
    ``UploadNotFound`` alike.
    """

    def __init__(self, store: ObjectStore, media: MediaStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._media = media
        self._clock = clock

    def create(
        self,
        tenant: str,
        filename: str,
        purpose: str,
        size_bytes: int,
        file_expires_after_seconds: int | None = None,
    ) -> Upload:
        """Announce a file of ``size_bytes``. The upload takes parts for an hour."""
        check_tenant(tenant)
        now = int(self._clock())
        upload = Upload(
            f"upload_{secrets.token_hex(16)}",
            tenant,
            filename,
            purpose,
            size_bytes,
            now,
            now + _LIFETIME_SECONDS,
            file_expires_after_seconds,
        )
        fields = asdict(upload)
        del fields["status"], fields["file_id"]
        key = _key(tenant, upload.id, "json")
        self._store.put(key, _encoded(key, fields))
        return upload

    def get(self, tenant: str, upload_id: str) -> Upload:
        """The upload with its present status."""
        upload = self._announced(tenant, upload_id)
        outcome = self._outcome(tenant, upload_id)
        if outcome is not None:
            return replace(upload, status=outcome[0], file_id=outcome[1])
        if self._clock() >= upload.expires_at_seconds:
            return replace(upload, status="expired")
        return upload

    def pending(self, tenant: str, upload_id: str) -> Upload:
        """The upload, which still takes parts. Raises ``UploadClosed`` when it does not."""
        upload = self.get(tenant, upload_id)
        if upload.status != "pending":
            raise _closed(upload)
        return upload

    def add_part(self, tenant: str, upload_id: str, stream: BinaryIO, max_bytes: int) -> UploadPart:
        """Store what ``stream`` (seekable) holds from here on as a part. Parts may come in any order and at once.

        Raises ``ObjectTooLarge`` beyond ``max_bytes``, ``UploadMismatch`` for an empty part and when the parts
        are far more than was announced (repeated ones have room), ``UploadClosed``.
        """
        upload = self.pending(tenant, upload_id)
        part_id, part_bytes = new_part_id(stream, max_bytes)
        sizes = [info.size_bytes for info in self._store.list(_part_key(upload, ""))]
        if len(sizes) >= _MAX_PARTS or sum(sizes) + part_bytes > 2 * upload.size_bytes + _SPARE_PARTS_BYTES:
            raise UploadMismatch(
                f"The upload was announced with {upload.size_bytes} bytes, and its parts are far more already. "
                "Cancel it and begin a new one."
            )
        key = _part_key(upload, part_id)
        self._store.put(key, stream)
        # Whoever closed it meanwhile may have deleted the parts before this one was there.
        if self._outcome(tenant, upload_id) is not None:
            self._store.delete(key)
            raise _closed(self.get(tenant, upload_id))
        return UploadPart(part_id, upload_id, int(self._clock()))

    def open(self, upload: Upload, part_ids: Sequence[str], md5: str | None = None) -> BinaryIO:
        """The parts in this order as one stream, to be closed; see ``open_parts`` for what reading it raises.

        Raises ``UploadMismatch`` when a part is missing or the sizes do not add up to what was announced.
        """
        sizes = {info.key: info.size_bytes for info in self._store.list(_part_key(upload, ""))}
        keys = [_part_key(upload, part_id) for part_id in part_ids if PART_ID.fullmatch(part_id)]
        if len(keys) != len(part_ids) or not all(key in sizes for key in keys):
            raise UploadMismatch("'part_ids' names a part that this upload does not have.")
        total_bytes = sum(sizes[key] for key in keys)
        if total_bytes != upload.size_bytes:
            raise UploadMismatch(
                f"The parts have {total_bytes} bytes together; the upload was announced with "
                f"{upload.size_bytes} bytes."
            )
        return open_parts(self._store, keys, md5)

    def note_file(self, upload: Upload, file_id: str) -> None:
        """Say that a file with this id is about to be made, before it is: a crash then leaves no stray file."""
        self._store.put(_key(upload.tenant, upload.id, file_id), b"")

    def complete(self, upload: Upload, file_id: str) -> Upload:
        """Make a stored file the upload's file, and return the upload as it ended.

        When it had ended otherwise (another ``file_id``, cancelled, expired), the caller's file is not needed
        and must be removed.
        """
        return self._end(upload, "completed", file_id)

    def cancel(self, tenant: str, upload_id: str) -> Upload:
        """Close an upload and delete its parts. Again is no error; raises ``UploadClosed`` for other ends."""
        upload = self.get(tenant, upload_id)
        if upload.status == "pending":
            upload = self._end(upload, "cancelled", None)
        if upload.status != "cancelled":
            raise _closed(upload)
        return upload

    def sweep(self, now_seconds: float | None = None) -> int:
        """Close uploads that have expired; remove parts of closed ones, files that a crash left unannounced,
        and, a day later, the uploads themselves. Returns the number of objects removed.

        Safe beside everything else, other sweeps included.
        """
        now = self._clock() if now_seconds is None else now_seconds
        removed = 0
        for (tenant, upload_id), infos in _grouped(self._store.list("uploads/")):
            removed += self._sweep_upload(tenant, upload_id, infos, now)
        for (tenant, upload_id), infos in _grouped(self._store.list("parts/")):
            # The record is there before the first part and goes after the last.
            if not exists(self._store, _key(tenant, upload_id, "json")):
                removed += self._delete([info.key for info in infos])
        return removed

    def _sweep_upload(self, tenant: str, upload_id: str, infos: list[ObjectInfo], now: float) -> int:
        try:
            expires_at_seconds = float(self._announced(tenant, upload_id).expires_at_seconds)
        except (UploadNotFound, CorruptObject):
            expires_at_seconds = max(info.modified_at_seconds for info in infos) + _LIFETIME_SECONDS
        try:
            outcome = self._outcome(tenant, upload_id)
            if outcome is None:
                if now < expires_at_seconds + _GRACE_SECONDS:
                    return 0
                # From here on no completion can win any more.
                self._decide(tenant, upload_id, "expired", None)
                outcome = self._outcome(tenant, upload_id)
        except CorruptObject as error:
            _LOG.warning("The end of upload %s cannot be read: %s", upload_id, error)
            outcome = None
        removed = self._delete_parts(tenant, upload_id)
        noted = [info.key.rpartition(".")[2] for info in infos if ".file-" in info.key]
        if outcome is not None:
            removed += sum(self._delete_file(tenant, file_id) for file_id in noted if file_id != outcome[1])
        if now >= expires_at_seconds + _KEPT_SECONDS:
            record = _key(tenant, upload_id, "json")
            keys = [info.key for info in self._store.list(f"uploads/{tenant}/{upload_id}.")]
            # The record goes last: what a crash leaves is found by it.
            removed += self._delete(sorted(keys, key=lambda key: key == record))
        return removed

    def _delete_file(self, tenant: str, file_id: str) -> bool:
        try:
            self._media.delete(tenant, file_id)
        except MediaNotFound:
            return False
        return True

    def _end(self, upload: Upload, status: UploadStatus, file_id: str | None) -> Upload:
        self._decide(upload.tenant, upload.id, status, file_id)
        ended = self.get(upload.tenant, upload.id)
        try:
            if ended.file_id is not None:
                # A file without a note is never removed, whatever becomes of the outcome.
                self._store.delete(_key(upload.tenant, upload.id, ended.file_id))
            self._delete_parts(upload.tenant, upload.id)
        except StorageError as error:  # the end is decided and durable; the sweep takes the parts
            _LOG.warning("The parts of a closed upload could not be deleted yet: %s", error)
        return ended

    def _announced(self, tenant: str, upload_id: str) -> Upload:
        check_tenant(tenant)
        if not _ID.fullmatch(upload_id):
            raise _not_found()
        fields = self._read(_key(tenant, upload_id, "json"))
        if fields is None:
            raise _not_found()
        try:
            upload = Upload(**fields)
        except TypeError as error:
            raise _damaged() from error
        return upload

    def _outcome(self, tenant: str, upload_id: str) -> tuple[UploadStatus, str | None] | None:
        fields = self._read(_key(tenant, upload_id, _OUTCOME))
        if fields is None:
            return None
        try:
            return fields["status"], fields["file_id"]
        except KeyError as error:
            raise _damaged() from error

    def _read(self, key: str) -> dict[str, Any] | None:
        try:
            fields = from_checked_json(key, self._store.get(key))
        except ObjectNotFound:
            return None
        if fields is None or fields.pop("version", None) != _VERSION:
            raise _damaged()
        return fields

    def _decide(self, tenant: str, upload_id: str, status: UploadStatus, file_id: str | None) -> None:
        key = _key(tenant, upload_id, _OUTCOME)
        self._store.put_if_absent(key, _encoded(key, {"status": status, "file_id": file_id}))

    def _delete_parts(self, tenant: str, upload_id: str) -> int:
        return self._delete([info.key for info in self._store.list(f"parts/{tenant}/{upload_id}/")])

    def _delete(self, keys: Sequence[str]) -> int:
        for key in keys:
            self._store.delete(key)
        return len(keys)


def _grouped(infos: Iterator[ObjectInfo]) -> Iterator[tuple[tuple[str, str], list[ObjectInfo]]]:
    """Objects by tenant and upload id; an upload's objects follow each other in a listing. Others are left out."""
    for key, group in groupby(infos, _owner):
        if key is not None:
            yield key, list(group)


def _owner(info: ObjectInfo) -> tuple[str, str] | None:
    found = _OWNED.fullmatch(info.key)
    try:
        return None if found is None else (check_tenant(found[1]), found[2])
    except InvalidKey:
        return None


def _key(tenant: str, upload_id: str, name: str) -> str:
    return f"uploads/{tenant}/{upload_id}.{name}"


def _part_key(upload: Upload, part_id: str) -> str:
    return f"parts/{upload.tenant}/{upload.id}/{part_id}"


def _encoded(key: str, fields: dict[str, Any]) -> bytes:
    return to_checked_json(key, {"version": _VERSION, **fields})


def _closed(upload: Upload) -> UploadClosed:
    if upload.status == "expired":
        return UploadClosed(
            f"This upload has expired; uploads take parts for {_LIFETIME_SECONDS} seconds. Begin a new one."
        )
    return UploadClosed(f"This upload is {upload.status} and takes nothing more. Begin a new one.")


def _not_found() -> UploadNotFound:
    return UploadNotFound("No upload with this id was found. Create it first, or check the id.")


def _damaged() -> CorruptObject:
    return CorruptObject("The stored record of this upload is damaged. Begin a new upload.")
