"""The conditional and range headers of RFC 9110, as far as a download needs them."""

from __future__ import annotations

import re

__all__ = ["NOT_SATISFIABLE", "ByteRange", "matches_etag", "read_range"]

ByteRange = tuple[int, int]
"""First byte, and one past the last."""

NOT_SATISFIABLE: ByteRange = (-1, -1)
"""The range names bytes that are not there."""

_MAX_HEADER_CHARACTERS = 4096
# Eighteen digits are beyond every size, and int() of endless digits is slow.
_RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE | re.ASCII)
_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def matches_etag(header: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names ``etag`` (weak comparison) or anything (``*``)."""
    return header.strip() == "*" or etag in _ETAG.findall(header[:_MAX_HEADER_CHARACTERS])


def read_range(header: str | None, if_range: str | None, size_bytes: int, etag: str) -> ByteRange | None:
    """The bytes that ``Range`` asks for of ``size_bytes``; ``None`` for all of them.

    Several ranges, other units and malformed headers are ignored, as the RFC allows, and so is a range of a
    version (``If-Range``) other than ``etag``, or named by a date.
    """
    if header is None or (if_range is not None and if_range.strip() != etag):
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:  # the last so many bytes
        wanted = min(int(last), size_bytes)
        return (size_bytes - wanted, size_bytes) if wanted else NOT_SATISFIABLE
    start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    if last and int(last) < start:
        return None
    return (start, end) if start < size_bytes else NOT_SATISFIABLE
