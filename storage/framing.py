"""Cached and derived values on their way to a store: a header, a checksum, the bytes.

Layout: magic ``MMV1``, 16 bytes BLAKE2b over key length, key and value, then the value. The key is part of
the checksum, so a value that ends up under another key is as corrupt as one with a flipped bit.
"""

from __future__ import annotations

import hashlib

__all__ = ["seal", "unseal"]

_MAGIC = b"MMV1"
_DIGEST_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + _DIGEST_BYTES


def seal(key: str, value: bytes) -> bytes:
    """``value`` framed for storing under ``key``."""
    return _MAGIC + _digest(key, value) + value


def unseal(key: str, framed: bytes) -> bytes | None:
    """The value that was sealed under ``key``, or ``None`` if these bytes are anything else."""
    value = framed[_HEADER_BYTES:]
    if framed[:_HEADER_BYTES] != _MAGIC + _digest(key, value):
        return None
    return value


def _digest(key: str, value: bytes) -> bytes:
    name = key.encode()
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    digest.update(len(name).to_bytes(8, "little"))
    digest.update(name)
    digest.update(value)
    return digest.digest()
