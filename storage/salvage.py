"""A new record for a medium whose record is damaged, from what else the store knows of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from storage.errors import ObjectNotFound
from storage.keys import blob_key, fingerprint_prefix
from storage.objects import ObjectStore
from storage.records import id_time_seconds, is_inline_id
from storage.types import INLINE, MediaRecord, MediaRef

__all__ = ["salvaged_record"]

_HEAD_BYTES = 8192
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PURPOSE = re.compile(r"[a-z-]{1,32}")


def salvaged_record(
    store: ObjectStore, tenant: str, media_id: str, damaged: bytes, content_type_of: Callable[[bytes], str]
) -> MediaRecord | None:
    """The record as far as it can be told, or ``None`` when nothing names the content or that is gone.

    What the medium is comes from its reference (or the damaged record: content lies under its own hash, so a
    wrong one finds nothing), its blob, of whose first bytes ``content_type_of`` tells the type, its id and its
    fingerprint. Name and purpose are taken from the damaged record where they still look like such, and may be
    wrong by a letter. It does not expire any more: a time that cannot be trusted must not remove anything.
    """
    fields = _readable(damaged)
    sha256 = _referred_content(store, tenant, media_id) or str(fields.get("sha256"))
    if not _SHA256.fullmatch(sha256):
        return None
    key = blob_key(tenant, sha256)
    try:
        size_bytes = store.head(key).size_bytes
        with store.open(key, 0, _HEAD_BYTES) as blob:
            content_type = content_type_of(blob.read())
    except ObjectNotFound:
        return None
    purpose, filename = fields.get("purpose"), fields.get("filename")
    if is_inline_id(media_id):
        purpose = INLINE
    elif not (isinstance(purpose, str) and _PURPOSE.fullmatch(purpose)) or purpose == INLINE:
        purpose = "user_data"
    fingerprint = next(store.list(fingerprint_prefix(tenant, media_id)), None)
    return MediaRecord(
        MediaRef(media_id, tenant, sha256, size_bytes, content_type),
        filename if isinstance(filename, str) and _is_text(filename) else None,
        int(id_time_seconds(media_id)),
        purpose,
        perceptual_hash=None if fingerprint is None else fingerprint.key.rpartition("-")[2],
    )


def _referred_content(store: ObjectStore, tenant: str, media_id: str) -> str | None:
    """The content that the id's reference names, if there is one."""
    for info in store.list(f"refs/{tenant}/"):
        parts = info.key.split("/")
        if len(parts) == 4 and parts[3] == media_id:
            return parts[2]
    return None


def _is_text(name: str) -> bool:
    """Whether it has a form on the wire: a flipped bit in an escape may leave half a character."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _readable(damaged: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(damaged)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
