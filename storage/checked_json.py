"""Small records as JSON with a checksum over their key and every byte: a flipped bit anywhere, or a record that
ended up under another key, is noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["from_checked_json", "to_checked_json"]

_DIGEST_BYTES = 16
_TAIL = re.compile(rb', "checksum": "([0-9a-f]{32})"}')
_TAIL_BYTES = len(b', "checksum": ""}') + 2 * _DIGEST_BYTES


def to_checked_json(key: str, fields: Mapping[str, Any]) -> bytes:
    """``fields`` (at least one) for storing under ``key``. Raises ``ValueError`` or ``TypeError`` for what JSON
    cannot hold.
    """
    payload = json.dumps(dict(fields), allow_nan=False).encode("ascii").removesuffix(b"}")
    return payload + b', "checksum": "' + _digest(key, payload) + b'"}'


def from_checked_json(key: str, encoded: bytes) -> dict[str, Any] | None:
    """The fields that were written for ``key``, or ``None`` if these bytes are anything else."""
    payload, tail = encoded[:-_TAIL_BYTES], encoded[-_TAIL_BYTES:]
    found = _TAIL.fullmatch(tail)
    if found is None or found[1] != _digest(key, payload):
        return None
    try:
        fields = json.loads(payload + b"}")
    except (ValueError, RecursionError):  # the checksum has no secret: somebody made it
        return None
    return fields if isinstance(fields, dict) else None


def _digest(key: str, payload: bytes) -> bytes:
    return hashlib.blake2b(key.encode() + b"\0" + payload, digest_size=_DIGEST_BYTES).hexdigest().encode()
