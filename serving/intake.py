"""The storing side of admission: typing bytes by content, finding them among what is stored, keeping them.

Everything here blocks and runs in threads. What one request needs of it is one call: a thread hop and a
look-up are what a photo that was seen before costs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

from encoders.decoding.sniff import SNIFF_BYTES, sniff
from encoders.errors import UnsupportedMedia
from encoders.types import MediaKind
from serving.config import RequestLimits
from serving.file_types import is_text, other_content_type
from serving.inline_memo import InlineMemo
from serving.refusals import kind_mismatch, naming
from storage.assembly import Storage
from storage.errors import CorruptObject, MediaNotFound
from storage.records import id_time_seconds
from storage.types import INLINE, MediaRecord, MediaRef

__all__ = ["Intake", "Received"]


@dataclass(frozen=True, slots=True)
class Received:
    """Stored bytes that have no record yet, and whether they look like a medium."""

    ref: MediaRef
    is_medium: bool


class Intake:
    """Takes bytes into the media store. Thread-safe."""

    def __init__(self, storage: Storage, limits: RequestLimits, memo: InlineMemo) -> None:
        self._media = storage.media
        self._fingerprints = storage.fingerprints
        self._retention_seconds = storage.config.inline_retention_seconds
        self._limits = limits
        self._memo = memo
        self._clock = storage.media.clock

    def inline(
        self,
        tenant: str,
        opened: Callable[[], BinaryIO],
        expected: frozenset[MediaKind],
        param: str | None,
        *,
        anew: bool,
    ) -> MediaRecord | MediaRef:
        """Bytes of another request: the live inline record that holds them already, or else (or if they are
        to be stored ``anew``) a received medium without record. ``opened`` gives them, from the beginning.

        Nothing is stored of what cannot be of an expected kind.
        """
        file = opened()
        with naming(param):
            sniffed = sniff(_head(file))
        if not sniffed.kinds & expected:
            raise kind_mismatch(sniffed.content_type, expected, param)
        if not anew:
            # Hashed twice when it is new: in memory that is nothing beside writing it.
            known = self._known(tenant, _sha256(file))
            if known is not None:
                return known
        limit = self._limits.max_media_bytes
        return self._media.receive(tenant, file, sniffed.content_type, limit, inline=True)

    def commit_inline(self, ref: MediaRef, filename: str | None) -> MediaRecord:
        """The record of an inline medium."""
        record = self.commit(ref, filename, INLINE, self._retention_seconds, None)
        self._memo.put(ref.tenant, ref.sha256, ref.id)
        return record

    def receive(
        self, tenant: str, file: BinaryIO, param: str | None, max_bytes: int, *, allow_other: bool
    ) -> Received:
        """Store a file's bytes. Files that are no media are refused unless ``allow_other``."""
        content_type, is_medium = self._typed(_head(file), param, allow_other=allow_other)
        return Received(self._media.receive(tenant, file, content_type, max_bytes), is_medium)

    def typed(self, ref: MediaRef) -> Received:
        """``receive``'s answer for bytes that are stored already, under their true content type."""
        head = b"".join(self._media.stream(ref, 0, min(SNIFF_BYTES, ref.size_bytes)))
        content_type, is_medium = self._typed(head, None, allow_other=True)
        return Received(replace(ref, content_type=content_type), is_medium)

    def commit(
        self,
        ref: MediaRef,
        filename: str | None,
        purpose: str,
        lifetime_seconds: int | None,
        perceptual_hash: str | None,
    ) -> MediaRecord:
        """The record of a received medium, which expires so long after its creation. After an error take the
        medium back; a fingerprint that stays behind is garbage, and found by nobody without record.
        """
        if perceptual_hash is not None:
            # Before the record: no medium that can be looked up is missing among the look-alikes.
            self._fingerprints.add(ref.tenant, ref.id, perceptual_hash)
        created_at_seconds = int(id_time_seconds(ref.id))
        return self._media.commit(
            ref,
            filename=filename,
            purpose=purpose,
            expires_at_seconds=None if lifetime_seconds is None else created_at_seconds + lifetime_seconds,
            perceptual_hash=perceptual_hash,
        )

    def abandon(self, taken: MediaRecord | MediaRef | Received) -> None:
        """Take back a received medium. A record that was there before stays."""
        if isinstance(taken, Received):
            taken = taken.ref
        if isinstance(taken, MediaRef):
            self._media.abandon(taken)

    def _known(self, tenant: str, sha256: str) -> MediaRecord | None:
        record = self._remembered(tenant, sha256) or self._media.find_by_content(tenant, sha256, INLINE)
        if record is None:
            return None
        now = self._clock()
        expires = record.expires_at_seconds
        if expires is not None and expires - now < self._retention_seconds / 2:
            try:
                record = self._media.extend(record, int(now) + self._retention_seconds)
            except MediaNotFound:  # deleted since: the bytes are at hand
                return None
        self._memo.put(tenant, sha256, record.ref.id)
        return record

    def _remembered(self, tenant: str, sha256: str) -> MediaRecord | None:
        media_id = self._memo.get(tenant, sha256)
        if media_id is None:
            return None
        try:
            return self._media.get(tenant, media_id)
        except (MediaNotFound, CorruptObject):
            self._memo.forget(tenant, sha256)
            return None

    @staticmethod
    def _typed(head: bytes, param: str | None, *, allow_other: bool) -> tuple[str, bool]:
        """Content type, and whether the bytes look like a medium."""
        if allow_other and is_text(head):  # text may begin like a medium by chance
            return other_content_type(head), False
        with naming(param):
            try:
                return sniff(head).content_type, True
            except UnsupportedMedia:
                if not allow_other:
                    raise
        return other_content_type(head), False


def _head(file: BinaryIO) -> bytes:
    head = file.read(SNIFF_BYTES)
    file.seek(0)
    return head


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()  # every BinaryIO here has readinto
    file.seek(0)
    return digest
