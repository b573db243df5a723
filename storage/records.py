"""Media records on their way to the object store, and the ids behind which they lie.

An id begins with the time it was made, counted down, so that a listing in order of keys begins with the newest;
a digit says whether it came within another request, so that listing files need not read the many records of those;
the rest is random, so that nobody can guess one. A record's last field is a checksum over its key and all bytes
before: a flipped bit anywhere, or a record that ended up under another key, is noticed.
"""

from __future__ import annotations

import re
import secrets

from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import CorruptObject
from storage.keys import record_key
from storage.types import MediaRecord, MediaRef

__all__ = ["decode_record", "encode_record", "id_time_seconds", "is_inline_id", "is_media_id", "new_media_id"]

_ID = re.compile(r"file-[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME_HEX = 12
_LAST_MILLISECOND = (1 << 4 * _TIME_HEX) - 1
_UPLOADED, _INLINE = "0", "1"
_VERSION = 2


def new_media_id(now_seconds: float, *, inline: bool = False) -> str:
    """A new id for a medium that came in at a time since the epoch, by itself or within another request."""
    counted_down = _LAST_MILLISECOND - max(0, int(now_seconds * 1000))
    door = _INLINE if inline else _UPLOADED
    return f"file-{counted_down:0{_TIME_HEX}x}{door}{secrets.token_hex(10)[1:]}"


def id_time_seconds(media_id: str) -> float:
    """When the id was made, in seconds since the epoch."""
    counted_down = int(media_id.removeprefix("file-")[:_TIME_HEX], 16)
    return (_LAST_MILLISECOND - counted_down) / 1000


def is_inline_id(media_id: str) -> bool:
    """Whether the id was made for a medium that came within another request."""
    return media_id.removeprefix("file-")[_TIME_HEX : _TIME_HEX + 1] == _INLINE


def is_media_id(text: str) -> bool:
    """Whether this could be an id that we gave out."""
    return _ID.fullmatch(text) is not None


def encode_record(record: MediaRecord) -> bytes:
    """The record as JSON with its checksum. Raises ``ValueError``/``TypeError`` for metadata that JSON lacks."""
    ref = record.ref
    fields = {
        "version": _VERSION,
        "id": ref.id,
        "tenant": ref.tenant,
        "sha256": ref.sha256,
        "size_bytes": ref.size_bytes,
        "content_type": ref.content_type,
        "filename": record.filename,
        "created_at_seconds": record.created_at_seconds,
        "purpose": record.purpose,
        "expires_at_seconds": record.expires_at_seconds,
        "perceptual_hash": record.perceptual_hash,
        "metadata": dict(record.metadata),
    }
    return to_checked_json(record_key(ref.tenant, ref.id), fields)


def decode_record(encoded: bytes, tenant: str, media_id: str) -> MediaRecord:
    """The record that was written for this id. Raises ``CorruptObject`` for anything else."""
    fields = from_checked_json(record_key(tenant, media_id), encoded)
    if fields is None:
        raise _damaged()
    try:
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
            str(fields["purpose"]),
            fields["expires_at_seconds"],
            fields["perceptual_hash"],
            dict(fields["metadata"]),
        )
        version = fields["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged() from error
    ref = record.ref
    if (ref.id, ref.tenant, version) != (media_id, tenant, _VERSION) or not _SHA256.fullmatch(ref.sha256):
        raise _damaged()
    return record


def _damaged() -> CorruptObject:
    return CorruptObject("The stored record of this media is damaged. Upload the media again.")
