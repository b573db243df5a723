"""The form of the audit log: entries that each carry the hash of the one before, in sealed segments.

A gateway writes one chain. Its entries are lines of JSON; ``previous`` of each is the SHA-256 of the line before,
that of the first is of no bytes. Several entries make a segment, an object under ``audit/<gateway>/<number of its
first entry>`` that is never written again; its last line is an HMAC under the platform's secret over its key and
all lines before. What a chain has reached is kept sealed under ``audit-heads/<gateway>``, from before its first
segment on, so an end that was cut off is missed. A chain's first entry names the heads of others, so a chain that
was taken away is missed too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "FIRST",
    "HEADS",
    "SEGMENTS",
    "Head",
    "audit_secret",
    "head_bytes",
    "line_hash",
    "read_head",
    "sealed_segment",
    "segment_key",
    "unsealed_segment",
    "written_line",
]

SEGMENTS = "audit/"
HEADS = "audit-heads/"
FIRST = hashlib.sha256(b"").hexdigest()
"""What the first entry of a chain names as the hash of the one before."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain has come: the number and the hash of its last entry."""

    number: int
    hash: str


def audit_secret(secret: bytes) -> bytes:
    """What seals the log, of the platform's secret."""
    return hmac.digest(secret, b"manymodal audit log 1", "sha256")


def segment_key(gateway: str, number: int) -> str:
    """Where the segment lies that begins with an entry."""
    return f"{SEGMENTS}{gateway}/{number:016d}"


def written_line(fields: Mapping[str, Any], number: int, previous: str) -> bytes:
    """An entry as a line, without its end."""
    entry = {"number": number, **fields, "previous": previous}
    return json.dumps(entry, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def line_hash(line: bytes) -> str:
    """What the next entry says of this line."""
    return hashlib.sha256(line).hexdigest()


def sealed_segment(secret: bytes, key: str, lines: list[bytes]) -> bytes:
    """A segment's bytes."""
    body = b"".join(line + b"\n" for line in lines)
    return body + _mac(secret, key, body).encode() + b"\n"


def unsealed_segment(secret: bytes, key: str, segment: bytes) -> list[bytes] | None:
    """The lines of a segment; ``None`` when it is not as it was written under this key."""
    body, _, seal = segment.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n"
    if not segment.endswith(b"\n") or not hmac.compare_digest(seal, _mac(secret, key, body).encode()):
        return None
    return body.splitlines()


def head_bytes(secret: bytes, gateway: str, head: Head) -> bytes:
    """A chain's head as it is stored."""
    text = f"{head.number} {head.hash}"
    return f"{text} {_mac(secret, HEADS + gateway, text.encode())}".encode()


def read_head(secret: bytes, gateway: str, stored: bytes) -> Head | None:
    """A chain's head; ``None`` when it is not as it was written."""
    text, _, seal = stored.rpartition(b" ")
    if not hmac.compare_digest(seal, _mac(secret, HEADS + gateway, text).encode()):
        return None
    number, _, hash_ = text.decode().partition(" ")
    return Head(int(number), hash_)


def _mac(secret: bytes, key: str, body: bytes) -> str:
    return hmac.digest(secret, key.encode() + b"\0" + body, "sha256").hex()
