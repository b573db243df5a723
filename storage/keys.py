"""Names of things in storage: object keys, tenants, and the keys of derived artifacts.

Where the objects of media lie (``<sha256>`` is the hash of their bytes):

- ``files/<tenant>/<id>.json``: the record behind a public id.
- ``refs/<tenant>/<sha256>/<id>``: empty; says that the record needs the blob.
- ``blobs/<tenant>/sha256/ab/cd/<sha256>``: the bytes, once per tenant.
- ``digests/<tenant>/<sha256>``: checksums of a large blob's chunks.
- ``derived/<tenant>/<sha256>/<artifact key>``: what was computed from the bytes.
- ``fingerprints/<tenant>/<id>-<perceptual hash>``: empty; to find pictures that look alike.
- ``trash/<tenant>/<sha256>/<nonce>``: a copy of the bytes while their deletion is under way.
- ``quarantine/<tenant>/<sha256>/<nonce>``: bytes that failed their hash.
- ``quarantine/<tenant>/records/<id>-<nonce>``: a record that failed its checksum.
- ``staging/<nonce>``: a large stream whose hash is not known yet.

An artifact key answers "was exactly this work done before?". It is an HMAC-SHA256 under the platform's
secret, so a key shown in a log or a cache listing tells nothing about the bytes behind it. It begins with a tag of
the tenant, under the same secret, by which caches find all that is one tenant's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import secrets
from collections.abc import Mapping
from typing import Any

from storage.errors import InvalidKey

__all__ = [
    "MAX_KEY_BYTES",
    "artifact_key",
    "blob_key",
    "check_object_key",
    "check_object_prefix",
    "check_tenant",
    "content_of",
    "damaged_record_prefix",
    "derived_prefix",
    "digests_key",
    "fingerprint_prefix",
    "new_staging_key",
    "quarantine_prefix",
    "record_key",
    "reference_prefix",
    "tenant_of",
    "tenant_tag",
    "trash_prefix",
]

MAX_KEY_BYTES = 1024  # what S3 takes
# A file name everywhere, and never "." or "..".
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@+-]{0,199}")
_TENANT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MIN_SECRET_BYTES = 16
_TAG_HEX = 16
_ENCODING_VERSION = 1  # part of every artifact key: raise it when the encoding below changes


def check_object_key(key: str) -> str:
    """Return ``key`` if every backend can hold it, else raise ``InvalidKey``.

    Keys are ``/``-separated segments of letters, digits and ``_ . = @ + -``, each starting with a letter, a
    digit or ``_`` and at most 200 characters long; in all at most 1024 bytes. That excludes traversal by
    construction.
    """
    if len(key) > MAX_KEY_BYTES or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise InvalidKey(
            "An object key must be segments of letters, digits and _ . = @ + - joined by '/', "
            f"each of at most 200 characters and not starting with a dot, {MAX_KEY_BYTES} characters in all."
        )
    return key


def check_object_prefix(prefix: str) -> str:
    """Return ``prefix`` if it is empty or could start a valid key, else raise ``InvalidKey``."""
    if prefix:
        check_object_key(prefix.removesuffix("/"))
    return prefix


def check_tenant(tenant: str) -> str:
    """Return ``tenant`` if it can be one segment of a key, else raise ``InvalidKey``."""
    if not _TENANT.fullmatch(tenant):
        raise InvalidKey(
            "A tenant's name must be 1 to 128 letters, digits and _ . @ - and not start with one of . @ -."
        )
    return tenant


def record_key(tenant: str, media_id: str) -> str:
    """Where an id's record lies."""
    return f"files/{tenant}/{media_id}.json"


def blob_key(tenant: str, sha256: str) -> str:
    """Where a content's bytes lie."""
    return f"blobs/{tenant}/sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def tenant_of(key: str) -> str:
    """The tenant in any key of two segments or more, for those that are not ours whatever stands there."""
    return key.split("/", 2)[1]


def content_of(key: str) -> tuple[str, str] | None:
    """Tenant and hash in the key of a content's reference, blob, digests, artifact, trash or quarantine copy;
    ``None`` for any other key: those are not ours, or hold no content.
    """
    parts = key.split("/")
    at = -1 if parts[0] == "blobs" else 2
    if len(parts) < 3 or not _TENANT.fullmatch(parts[1]) or not _SHA256.fullmatch(parts[at]):
        return None
    tenant, sha256 = parts[1], parts[at]
    lengths = {"refs": 4, "digests": 3, "derived": 4, "trash": 4, "quarantine": 4}
    is_ours = key == blob_key(tenant, sha256) or lengths.get(parts[0]) == len(parts)
    return (tenant, sha256) if is_ours and all(map(_SEGMENT.fullmatch, parts)) else None


def reference_prefix(tenant: str, sha256: str) -> str:
    """Below it lies one empty object for every id that needs the content."""
    return f"refs/{tenant}/{sha256}/"


def digests_key(tenant: str, sha256: str) -> str:
    """Where the checksums of a large content's chunks lie."""
    return f"digests/{tenant}/{sha256}"


def derived_prefix(tenant: str, sha256: str) -> str:
    """Below it lies what was computed from the content."""
    return f"derived/{tenant}/{sha256}/"


def trash_prefix(tenant: str, sha256: str) -> str:
    """Below it lie safety copies of the content."""
    return f"trash/{tenant}/{sha256}/"


def quarantine_prefix(tenant: str, sha256: str) -> str:
    """Below it lie bytes that claimed to be the content and were not."""
    return f"quarantine/{tenant}/{sha256}/"


def damaged_record_prefix(tenant: str, media_id: str = "") -> str:
    """What the keys of an id's records that failed their checksum, or of all of the tenant's, begin with."""
    return f"quarantine/{tenant}/records/{media_id}-" if media_id else f"quarantine/{tenant}/records/"


def fingerprint_prefix(tenant: str, media_id: str = "") -> str:
    """What the keys of an id's fingerprints, or of all of the tenant's, begin with."""
    return f"fingerprints/{tenant}/{media_id}-" if media_id else f"fingerprints/{tenant}/"


def new_staging_key() -> str:
    """A place for bytes whose hash is not known yet."""
    return f"staging/{secrets.token_hex(16)}"


def artifact_key(
    secret: bytes,
    tenant: str,
    sha256: str,
    task: str,
    model: str,
    revision: str,
    preprocessing: str,
    params: Mapping[str, Any],
) -> str:
    """The key of one derived artifact: 64 hex digits, equal exactly when all arguments are equal.

    ``sha256`` is the source's content hash, ``model``, ``revision`` and ``preprocessing`` come from the
    model's ``SPEC``; ``params`` is everything else that changes the result, as JSON values (``None``, bool,
    int, finite float, str, lists or tuples, mappings with string keys). The order of mapping entries does
    not matter; ``1``, ``1.0`` and ``True`` are three different values.

    Raises ``ValueError`` for a secret under 16 bytes and ``TypeError``/``ValueError`` for values that have no
    unambiguous JSON form: a silently stringified value could make two different requests share a key.
    """
    if len(secret) < _MIN_SECRET_BYTES:
        raise ValueError(f"The cache secret must be at least {_MIN_SECRET_BYTES} bytes.")
    names = [tenant, sha256, task, model, revision, preprocessing]
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"Artifact key fields must be strings, not {type(name).__name__}.")
    message = json.dumps(
        [_ENCODING_VERSION, names, _plain(params)],
        sort_keys=True,
        ensure_ascii=True,
        allow_nan=False,
        separators=(",", ":"),
    )
    digest = hmac.new(secret, message.encode("ascii"), hashlib.sha256).hexdigest()
    return tenant_tag(secret, tenant) + digest[_TAG_HEX:]


def tenant_tag(secret: bytes, tenant: str) -> str:
    """What all artifact keys of a tenant begin with: 16 hex digits."""
    message = b"tenant\0" + tenant.encode("utf-8", "surrogatepass")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:_TAG_HEX]


def _plain(value: Any) -> Any:
    """``value`` as JSON values only. JSON itself would merge the keys ``1`` and ``"1"``, so keys are
    checked.
    """
    match value:
        case None | bool():
            return value
        # exact base types: a subclass (an Enum, a NumPy float) is written as its base value
        case int():
            return int(value)
        case float():
            if not math.isfinite(value):
                raise ValueError("An artifact key's parameters must be finite numbers.")
            return float(value)
        case str():
            return str.__str__(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case Mapping():
            if not all(isinstance(name, str) for name in value):
                raise TypeError("An artifact key's parameter names must be strings.")
            return {str.__str__(name): _plain(item) for name, item in value.items()}
        case _:
            raise TypeError(f"An artifact key's parameters cannot hold a {type(value).__name__}.")
