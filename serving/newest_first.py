"""Random ids whose order is that of time, the newest first: a listing of the store by prefix is a list by age."""

from __future__ import annotations

import secrets

__all__ = ["made_at_seconds", "newest_first_id"]

_LAST_MILLISECOND = (1 << 48) - 1
_TIME_HEX = 12


def newest_first_id(prefix: str, now_seconds: float) -> str:
    """``prefix``, 48 bits that count milliseconds down, and 80 random bits, in hex digits."""
    return f"{prefix}{_LAST_MILLISECOND - int(now_seconds * 1000):0{_TIME_HEX}x}{secrets.token_hex(10)}"


def made_at_seconds(given: str, prefix: str) -> float:
    """When an id of ``newest_first_id`` was made."""
    return (_LAST_MILLISECOND - int(given.removeprefix(prefix)[:_TIME_HEX], 16)) / 1000
