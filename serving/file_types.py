"""What a file is that is kept but not perceived: its MIME type from its first bytes, never from its name."""

from __future__ import annotations

import codecs
import re

import msgspec

from encoders.decoding.sniff import SNIFF_BYTES

__all__ = ["is_text", "other_content_type"]

# Every signature of a medium holds at least one of these within its first bytes.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def is_text(head: bytes) -> bool:
    """Whether a file's first bytes are UTF-8 text. A character that is cut at the end is no objection."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text) and not _CONTROL.search(text)


def other_content_type(head: bytes) -> str:
    """The MIME type of a file that is no medium."""
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    if not is_text(head):
        return "application/octet-stream"
    return "application/jsonl" if _begins_as_json_lines(head) else "text/plain"


def _begins_as_json_lines(head: bytes) -> bool:
    """Whether the first line is a JSON object, or the beginning of one that is longer than ``head``."""
    first, newline, _ = head.partition(b"\n")
    if not newline and len(head) >= SNIFF_BYTES:
        return first.startswith(b'{"')
    try:
        return isinstance(msgspec.json.decode(first), dict)
    except (msgspec.DecodeError, RecursionError):
        return False
