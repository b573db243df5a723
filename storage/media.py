"""Media as first-class objects: bytes stored once by content, public handles that tell nothing about them.

Objects of one medium (``<sha256>`` is the hash of its bytes):

- ``files/<tenant>/<id>.json``: the record behind a public id. The id is random: a content hash as a handle
  would let anyone who has a file ask whether a tenant has it too.
- ``refs/<tenant>/<sha256>/<id>``: empty; says that the record needs the blob, so that "is this blob still
  needed" is one listing.
- ``blobs/<tenant>/sha256/ab/cd/<sha256>``: the bytes, once per tenant.
- ``derived/<tenant>/<sha256>/...``: what was computed from them (``storage.artifacts``).
- ``trash/<tenant>/<sha256>/<nonce>``: a copy of the bytes while their deletion is under way.

A reference is written before the blob's existence is checked, and a deletion looks for references again
after it has deleted, with the bytes still at hand. So an upload of the same bytes racing with a deletion
either finds the blob gone and writes it, or is seen by the deletion, which puts the blob back. ``recover``
finishes deletions that a crash cut short.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from storage.artifacts import ArtifactStore
from storage.errors import (
    CorruptObject,
    MediaNotFound,
    ObjectNotFound,
    ObjectTooLarge,
    StorageError,
    StoreUnavailable,
)
from storage.keys import check_tenant
from storage.objects import ObjectStore
from storage.types import MediaRecord, MediaRef

__all__ = ["MediaStore"]

_LOG = logging.getLogger(__name__)
_ID = re.compile(r"media-[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20
_SPOOL_MEMORY_BYTES = 4 << 20  # larger media wait on disk, not in memory, until their hash is known
_RECORD_VERSION = 1
_DELETION_SECONDS = 600.0  # no deletion takes longer; older trash belongs to a crash


class MediaStore:
    """Media over an ``ObjectStore``. Threads and processes may share the store behind it.

    ``spool_folder`` holds large uploads until their hash is known (default: the system's folder for temporary
    files). ``clock`` gives seconds since the epoch.
    """

    def __init__(
        self,
        store: ObjectStore,
        spool_folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._artifacts = ArtifactStore(store)
        self._spool_folder = None if spool_folder is None else str(spool_folder)
        self._clock = clock

    @property
    def spool_folder(self) -> str | None:
        """Where large media wait on disk; ``None`` is the system's folder for temporary files."""
        return self._spool_folder

    def put(
        self,
        tenant: str,
        stream: BinaryIO,
        content_type: str,
        filename: str | None,
        metadata: Mapping[str, Any],
        max_bytes: int,
    ) -> MediaRecord:
        """Store what ``stream`` holds and return its new record; the same bytes again give a new id, no new
        blob.

        ``metadata`` holds JSON values. Raises ``ObjectTooLarge`` beyond ``max_bytes``, ``InvalidKey`` for a
        bad tenant name; nothing is kept in either case.
        """
        check_tenant(tenant)
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY_BYTES, dir=self._spool_folder) as spool:
            sha256, size_bytes = _spool(stream, cast(BinaryIO, spool), max_bytes)
            spool.seek(0)
            ref = MediaRef(f"media-{secrets.token_hex(16)}", tenant, sha256, size_bytes, content_type)
            record = MediaRecord(ref, filename, int(self._clock()), dict(metadata))
            encoded = _encoded(record)
            try:
                self._store.put(_reference_key(ref), b"")
                self._store.put_if_absent(ref.blob_key, cast(BinaryIO, spool))
                # The record comes last: an id can be looked up only when its bytes are there.
                self._store.put(_record_key(tenant, ref.id), encoded)
            except BaseException:
                self._abandon(ref)
                raise
        return record

    def get(self, tenant: str, media_id: str) -> MediaRecord:
        """The record behind an id.

        Raises ``MediaNotFound``, alike for ids that were never given out, malformed ones and other tenants'.
        """
        check_tenant(tenant)
        if not _ID.fullmatch(media_id):
            raise _not_found()
        try:
            encoded = self._store.get(_record_key(tenant, media_id))
        except ObjectNotFound:
            raise _not_found() from None
        return _decoded(encoded, tenant, media_id)

    def retype(self, record: MediaRecord, content_type: str) -> MediaRecord:
        """Store a record under another content type, once more is known of its bytes.

        Only for a record whose id nobody knows yet: one that is deleted meanwhile would come back.
        """
        corrected = replace(record, ref=replace(record.ref, content_type=content_type))
        self._store.put(_record_key(record.ref.tenant, record.ref.id), _encoded(corrected))
        return corrected

    def open_bytes(self, ref: MediaRef) -> bytes:
        """The medium's bytes, checked against their hash.

        Raises ``MediaNotFound`` when they were deleted, ``CorruptObject`` when they are not what was stored.
        """
        try:
            data = self._store.get(ref.blob_key)
        except ObjectNotFound:
            raise _not_found() from None
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            raise CorruptObject("The stored media is damaged and was not used. Upload it again.")
        return data

    def list(self, tenant: str) -> Iterator[MediaRecord]:
        """All records of a tenant, in order of id (which is random)."""
        check_tenant(tenant)
        prefix = f"files/{tenant}/"
        for info in self._store.list(prefix):
            media_id = info.key.removeprefix(prefix).removesuffix(".json")
            try:
                yield self.get(tenant, media_id)
            except MediaNotFound:  # deleted since it was listed
                continue

    def delete(self, tenant: str, media_id: str) -> None:
        """Forget an id; with the last id of its content, also the blob and everything derived from it.

        Raises ``MediaNotFound``.
        """
        ref = self.get(tenant, media_id).ref
        self._store.delete(_record_key(tenant, media_id))
        self._store.delete(_reference_key(ref))
        self._delete_unreferenced(ref)

    def recover(self) -> None:
        """Finish deletions that a crash cut short: put back blobs that are needed, drop copies that are not.

        Safe beside running deletions: putting back is what they do themselves, and only old copies are
        dropped.
        """
        limit = self._clock() - _DELETION_SECONDS
        for info in list(self._store.list("trash/")):
            _, tenant, sha256, _ = info.key.split("/")
            self._put_back_if_needed(MediaRef("", tenant, sha256, info.size_bytes, ""), info.key)
            if info.modified_at_seconds < limit:
                self._store.delete(info.key)

    def _delete_unreferenced(self, ref: MediaRef) -> None:
        if self._is_referenced(ref):
            return
        trash_key = f"trash/{ref.tenant}/{ref.sha256}/{secrets.token_hex(8)}"
        try:
            with self._store.open(ref.blob_key) as blob:
                self._store.put(trash_key, blob)
        except ObjectNotFound:  # another deletion of the same content came first
            self._artifacts.delete_all(ref.tenant, ref.sha256)
            return
        self._store.delete(ref.blob_key)
        self._artifacts.delete_all(ref.tenant, ref.sha256)
        self._put_back_if_needed(ref, trash_key)
        self._store.delete(trash_key)

    def _put_back_if_needed(self, ref: MediaRef, trash_key: str) -> None:
        """Undo a blob's deletion if a reference to it has appeared."""
        if not self._is_referenced(ref):
            return
        try:
            with self._store.open(trash_key) as copy:
                self._store.put_if_absent(ref.blob_key, copy)
        except ObjectNotFound:  # the deletion was finished by another process
            return

    def _is_referenced(self, ref: MediaRef) -> bool:
        return next(self._store.list(f"refs/{ref.tenant}/{ref.sha256}/"), None) is not None

    def _abandon(self, ref: MediaRef) -> None:
        """Take a failed upload back. What cannot be removed now is an unused reference: it wastes space, no
        more.
        """
        try:
            self._store.delete(_record_key(ref.tenant, ref.id))
            self._store.delete(_reference_key(ref))
            self._delete_unreferenced(ref)
        except StorageError as error:  # the upload's own error is the one to raise
            _LOG.warning("A failed upload could not be taken back: %s", error)


def _spool(stream: BinaryIO, spool: BinaryIO, max_bytes: int) -> tuple[str, int]:
    """Copy ``stream`` to ``spool``; its SHA-256 in hex and its size."""
    digest = hashlib.sha256()
    size_bytes = 0
    while chunk := stream.read(_CHUNK_BYTES):
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise ObjectTooLarge(f"The media is larger than {max_bytes} bytes. Send a smaller file.")
        digest.update(chunk)
        try:
            spool.write(chunk)
        except OSError as error:  # not the stream's fault: the spool folder is full or gone
            _LOG.error("An upload could not be spooled: %s", error)
            raise StoreUnavailable("There is no room to receive the media. Try again later.") from error
    return digest.hexdigest(), size_bytes


def _record_key(tenant: str, media_id: str) -> str:
    return f"files/{tenant}/{media_id}.json"


def _reference_key(ref: MediaRef) -> str:
    return f"refs/{ref.tenant}/{ref.sha256}/{ref.id}"


def _encoded(record: MediaRecord) -> bytes:
    ref = record.ref
    return json.dumps(
        {
            "version": _RECORD_VERSION,
            "id": ref.id,
            "tenant": ref.tenant,
            "sha256": ref.sha256,
            "size_bytes": ref.size_bytes,
            "content_type": ref.content_type,
            "filename": record.filename,
            "created_at_seconds": record.created_at_seconds,
            "metadata": record.metadata,
        },
        allow_nan=False,
    ).encode("ascii")


def _decoded(encoded: bytes, tenant: str, media_id: str) -> MediaRecord:
    try:
        fields = json.loads(encoded)
        record = MediaRecord(
            MediaRef(
                str(fields["id"]),
                str(fields["tenant"]),
                str(fields["sha256"]),
                int(fields["size_bytes"]),
                str(fields["content_type"]),
            ),
            fields["filename"],
            int(fields["created_at_seconds"]),
            dict(fields["metadata"]),
        )
        version = fields["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged() from error
    ref = record.ref
    belongs = (ref.id, ref.tenant, version) == (media_id, tenant, _RECORD_VERSION)
    if not belongs or not _SHA256.fullmatch(ref.sha256):
        raise _damaged()
    return record


def _not_found() -> MediaNotFound:
    return MediaNotFound("No media with this id was found. Upload it first, or check the id.")


def _damaged() -> CorruptObject:
    return CorruptObject("The stored record of this media is damaged. Upload the media again.")
