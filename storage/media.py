"""Media as first-class objects: bytes stored once by content, public handles that tell nothing about them.

The record behind a public id comes last when a medium comes in and goes first when it goes, so an id can be looked
up only while its bytes are there. The id is random: a content hash as a handle would let anyone who has a file ask
whether a tenant has it too. Contents and the references that keep them are in ``storage.blobs``; where everything
lies is in ``storage.keys``.

**Garbage collection and slow uploads.** The collector removes references that have no record and are older than
the grace period, so an upload must not reach its record with an older one. The id tells when the reference was
written. ``commit`` looks at the clock *after* the record is written: if the id is younger than a quarter of the
grace period, no collector can have found the reference too old before the record was there (the rest of the
period is room for clocks that differ). Else it goes the slow way: write the reference anew (r), see that the blob
is there, write the record (w), look at the reference (k). The collector, having found it old (h), writes a guard
reference, deletes this one (d), looks for the record (c), and if that is there puts the reference back before it
removes the guard. If h is after r, or d before r, the new reference counts. Else h < r < d. With k > d the upload
sees the reference missing, writes it again and looks for the blob again. With k < d we have w < k < d < c, so the
collector puts it back, and guard and reference together kept the blob without a gap.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from storage.blob_reader import BlobReader
from storage.blobs import BlobStore
from storage.errors import CorruptObject, MediaNotFound, ObjectNotFound, StorageError, StoreUnavailable
from storage.intake import taken_in
from storage.keys import check_tenant, fingerprint_prefix, record_key, reference_prefix
from storage.objects import ObjectStore
from storage.records import (
    decode_record,
    encode_record,
    id_time_seconds,
    is_inline_id,
    is_media_id,
    new_media_id,
)
from storage.types import INLINE, MediaRecord, MediaRef

__all__ = ["DeletedMedia", "MediaStore"]

_LOG = logging.getLogger(__name__)
_READERS = 8
_BATCH = 64
_MAX_REFERENCES_LOOKED_AT = 16
_EXTENSION_SECONDS = 60.0  # that writing an extension may take, clocks that differ included


@dataclass(frozen=True, slots=True)
class DeletedMedia:
    """What a deletion took away. ``artifact_keys`` are of what was derived from the content and must be forgotten
    by caches; none while other ids need the content.
    """

    record: MediaRecord
    artifact_keys: tuple[str, ...]


class MediaStore:
    """Media over an ``ObjectStore``. Threads and processes may share the store behind it.

    ``spool_folder`` holds uploads until their hash is known (default: the system's folder for temporary files).
    ``clock`` gives seconds since the epoch. ``grace_seconds`` is the garbage collector's.
    """

    def __init__(
        self,
        store: ObjectStore,
        spool_folder: Path | None = None,
        clock: Callable[[], float] = time.time,
        grace_seconds: float = 24 * 3600.0,
    ) -> None:
        self._store = store
        self._spool_folder = None if spool_folder is None else str(spool_folder)
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._blobs = BlobStore(store, clock)
        self._reader = BlobReader(store, self._blobs)

    @property
    def spool_folder(self) -> str | None:
        """Where large media wait on disk; ``None`` is the system's folder for temporary files."""
        return self._spool_folder

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since the epoch."""
        return self._clock

    @property
    def grace_seconds(self) -> float:
        """How old something without use must be to count as garbage."""
        return self._grace_seconds

    @property
    def objects(self) -> ObjectStore:
        """The store behind."""
        return self._store

    @property
    def blobs(self) -> BlobStore:
        """The contents behind the records."""
        return self._blobs

    def receive(
        self, tenant: str, stream: BinaryIO, content_type: str, max_bytes: int, *, inline: bool = False
    ) -> MediaRef:
        """Store what ``stream`` holds under a new id, which nobody can look up before it is committed.

        ``inline`` for what will be committed with the purpose ``INLINE``.

        The same bytes again give a new id, no new blob. What a seekable stream gives must not change meanwhile.
        Raises ``ObjectTooLarge`` beyond ``max_bytes``, ``InvalidKey`` for a bad tenant name; nothing is kept then.
        """
        check_tenant(tenant)
        with taken_in(self._store, stream, max_bytes, self._spool_folder) as content:
            media_id = new_media_id(self._clock(), inline=inline)
            ref = MediaRef(media_id, tenant, content.sha256, content.size_bytes, content_type)
            try:
                self._blobs.refer(tenant, ref.sha256, ref.id)
                self._blobs.write(tenant, content)
            except BaseException:
                self.abandon(ref)
                raise
        return ref

    def commit(
        self,
        ref: MediaRef,
        *,
        filename: str | None,
        purpose: str = "user_data",
        expires_at_seconds: int | None = None,
        perceptual_hash: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> MediaRecord:
        """Make a received medium public. ``ref.content_type`` may have been corrected since; ``purpose`` is
        ``INLINE`` exactly when it was received so (else ``ValueError``).

        ``metadata`` holds JSON values. After an error call ``abandon``. Raises ``StoreUnavailable`` also when the
        medium was received so long ago that it was collected.
        """
        if is_inline_id(ref.id) != (purpose == INLINE):
            raise ValueError("A medium is received as inline exactly when its purpose is.")
        record = MediaRecord(
            ref,
            filename,
            int(id_time_seconds(ref.id)),
            purpose,
            expires_at_seconds,
            perceptual_hash,
            dict(metadata or {}),
        )
        encoded = encode_record(record)
        key = record_key(ref.tenant, ref.id)
        if self._is_young(ref):
            self._store.put(key, encoded)
            if self._is_young(ref):
                return record
        self._secure(ref)
        self._store.put(key, encoded)
        if not self._blobs.is_referred(ref.tenant, ref.sha256, ref.id):
            self._secure(ref)
        return record

    def abandon(self, ref: MediaRef) -> None:
        """Take a received medium back. What cannot be removed now is left to garbage collection."""
        try:
            self._remove(ref)
        except StorageError as error:  # whatever made the caller give up is the error to raise
            _LOG.warning("A failed upload could not be taken back: %s", error)

    def get(self, tenant: str, media_id: str) -> MediaRecord:
        """The record behind an id.

        Raises ``MediaNotFound``, alike for ids that were never given out, malformed ones, other tenants' and
        expired ones.
        """
        record = self._load(tenant, media_id)
        if self._is_expired(record):
            raise _not_found()
        return record

    def extend(self, record: MediaRecord, expires_at_seconds: int | None) -> MediaRecord:
        """Give a record another time to expire, or none; one that does not expire stays so. Raises
        ``MediaNotFound`` when it was deleted meanwhile, or will expire so soon that somebody may be removing it
        already.
        """
        ref = record.ref
        # It may have been read a while ago, and been made to last since.
        record = self._load(ref.tenant, ref.id)
        if record.expires_at_seconds is None:
            return record
        if self._is_expired(record, _EXTENSION_SECONDS):
            raise _not_found()
        extended = replace(record, expires_at_seconds=expires_at_seconds)
        key = record_key(ref.tenant, ref.id)
        self._store.put(key, encode_record(extended))
        # A deletion removes record, reference, record. So if it ran meanwhile, either it removes what we have
        # just written, or its reference is gone by now.
        if not self._blobs.is_referred(ref.tenant, ref.sha256, ref.id):
            self._store.delete(key)
            raise _not_found()
        return extended

    def find_by_content(self, tenant: str, sha256: str, purpose: str) -> MediaRecord | None:
        """A record of these bytes with that purpose, if one is found among the newest. ``None`` as well when the
        bytes are known to be damaged or gone: uploading them again heals that.
        """
        check_tenant(tenant)
        prefix = reference_prefix(tenant, sha256)
        ids = (info.key.removeprefix(prefix) for info in self._store.list(prefix))
        fitting = (media_id for media_id in ids if is_inline_id(media_id) == (purpose == INLINE))
        for media_id in itertools.islice(fitting, _MAX_REFERENCES_LOOKED_AT):
            try:
                record = self.get(tenant, media_id)
            except (MediaNotFound, CorruptObject):
                continue
            if record.purpose == purpose and record.ref.sha256 == sha256:
                return record if self._blobs.is_usable(tenant, sha256) else None
        return None

    def read(self, ref: MediaRef) -> bytes:
        """The medium's bytes, checked against their hash.

        Raises ``MediaNotFound`` when they were deleted, ``CorruptObject`` when they are not what was stored.
        """
        return self._reader.read(ref)

    def stream(
        self, ref: MediaRef, start_bytes: int = 0, end_bytes: int | None = None
    ) -> Generator[bytes, None, None]:
        """The medium's bytes, or a part of them, in pieces of at most 4 MiB, each checked before it is given.

        Nothing is read before the first piece is asked for. Raises as ``read`` does, also between pieces.
        """
        return self._reader.stream(ref, start_bytes, ref.size_bytes if end_bytes is None else end_bytes)

    def list(
        self,
        tenant: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        newest_first: bool = True,
        purpose: str | None = None,
    ) -> list[MediaRecord]:
        """Records of a tenant in order of the time they came in, from the one after the id ``after`` on.

        Those of purpose ``INLINE`` only when asked for. Damaged records are left out, and reported by
        ``storage.verify``. Raises ``MediaNotFound`` for a malformed ``after``.
        """
        check_tenant(tenant)
        if after is not None and not is_media_id(after):
            raise _not_found()
        prefix = record_key(tenant, "").removesuffix(".json")
        after_key = None if after is None else record_key(tenant, after)
        if newest_first:
            keys = (info.key for info in self._store.list(prefix, after_key))
        else:
            # The store lists newest first only. Keys are few bytes; records are read for those wanted.
            listed = (info.key for info in self._store.list(prefix))
            newer = itertools.takewhile(lambda key: after_key is None or key < after_key, listed)
            keys = (key for key in reversed(list(newer)))
        ids = ((key, key.removeprefix(prefix).removesuffix(".json")) for key in keys)
        fitting = (key for key, i in ids if is_media_id(i) and is_inline_id(i) == (purpose == INLINE))
        wanted = (
            record
            for record in self._records(fitting, limit)
            if not self._is_expired(record) and purpose in (None, record.purpose)
        )
        return list(itertools.islice(wanted, limit))

    def expired(self) -> Iterator[MediaRecord]:
        """Records of all tenants that are past their time."""
        keys = (info.key for info in self._store.list("files/"))
        return (record for record in self._records(keys) if self._is_expired(record))

    def delete(self, tenant: str, media_id: str) -> DeletedMedia:
        """Forget an id, expired or not; with the last id of its content, also the blob and everything derived.

        Raises ``MediaNotFound``.
        """
        record = self._load(tenant, media_id)
        return DeletedMedia(record, self._remove(record.ref))

    def drop_reference(self, tenant: str, sha256: str, media_id: str) -> bool:
        """Remove a reference that has no record, and its content if nothing else needs it; whether it went.

        See the module on why this is safe beside a slow upload. A crash leaves a reference without record.
        """
        guard = new_media_id(self._clock())
        self._blobs.refer(tenant, sha256, guard)
        try:
            self._blobs.unrefer(tenant, sha256, media_id)
            has_record = True
            try:
                has_record = self.has_record(tenant, sha256, media_id)
            finally:
                if has_record:  # or nobody knows
                    self._blobs.refer(tenant, sha256, media_id)
            if has_record:
                return False
        finally:
            self._blobs.unrefer(tenant, sha256, guard)
        self._blobs.discard(tenant, sha256)
        return True

    def restore_reference(self, record: MediaRecord) -> bool:
        """Write a record's missing reference again; ``False`` when the record was deleted meanwhile."""
        ref = record.ref
        self._blobs.refer(ref.tenant, ref.sha256, ref.id)
        if self.has_record(ref.tenant, ref.sha256, ref.id):
            return True
        self._blobs.unrefer(ref.tenant, ref.sha256, ref.id)
        self._blobs.discard(ref.tenant, ref.sha256)
        return False

    def has_record(self, tenant: str, sha256: str, media_id: str) -> bool:
        """Whether an id has a record, expired or damaged ones too, that needs the content."""
        try:
            return self._load(tenant, media_id).ref.sha256 == sha256
        except MediaNotFound:
            return False
        except CorruptObject:
            return True

    def _remove(self, ref: MediaRef) -> tuple[str, ...]:
        """Take away all that an id has; artifact keys as ``BlobStore.discard`` gives them."""
        key = record_key(ref.tenant, ref.id)
        self._store.delete(key)
        self._blobs.unrefer(ref.tenant, ref.sha256, ref.id)
        self._store.delete(key)  # an ``extend`` may have brought it back
        for info in list(self._store.list(fingerprint_prefix(ref.tenant, ref.id))):
            self._store.delete(info.key)
        return self._blobs.discard(ref.tenant, ref.sha256)

    def _load(self, tenant: str, media_id: str) -> MediaRecord:
        check_tenant(tenant)
        if not is_media_id(media_id):
            raise _not_found()
        try:
            encoded = self._store.get(record_key(tenant, media_id))
        except ObjectNotFound:
            raise _not_found() from None
        return decode_record(encoded, tenant, media_id)

    def _records(self, keys: Iterator[str], expected: int | None = None) -> Iterator[MediaRecord]:
        """The records under ``keys``, in this order, without those that are gone or damaged; several are read at
        once, since on S3 each takes a round trip.
        """
        size = _BATCH if expected is None else max(_READERS, min(expected, _BATCH))
        with ThreadPoolExecutor(_READERS, "media-records") as pool:
            while batch := list(itertools.islice(keys, size)):
                for record in pool.map(self._record_under, batch):
                    if record is not None:
                        yield record

    def _record_under(self, key: str) -> MediaRecord | None:
        _, tenant, name = key.split("/", 2)
        try:
            return self._load(tenant, name.removesuffix(".json"))
        except MediaNotFound:  # deleted since it was listed
            return None
        except CorruptObject:
            _LOG.error("A media record is damaged: %s", key)
            return None

    def _secure(self, ref: MediaRef) -> None:
        """Write a reference anew and see that its blob is there; else take everything back."""
        self._blobs.refer(ref.tenant, ref.sha256, ref.id)
        if not self._blobs.restore(ref.tenant, ref.sha256):
            self.abandon(ref)
            raise StoreUnavailable("The upload took too long and was removed. Send it again.")

    def _is_young(self, ref: MediaRef) -> bool:
        return self._clock() - id_time_seconds(ref.id) <= self._grace_seconds / 4

    def _is_expired(self, record: MediaRecord, in_seconds: float = 0.0) -> bool:
        return (
            record.expires_at_seconds is not None and record.expires_at_seconds <= self._clock() + in_seconds
        )


def _not_found() -> MediaNotFound:
    return MediaNotFound("No media with this id was found. Upload it first, or check the id.")
