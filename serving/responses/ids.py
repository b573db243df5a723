"""Ids of responses and of the items in them.

A response's id begins with the time it was made, counted down, so that a listing in order of keys begins with the
newest and its age is known without reading it; the rest is random. An item's id names the response that it came
with: a reference to an item leads to where it is kept.
"""

from __future__ import annotations

import re
import secrets

__all__ = ["is_response_id", "made_at_seconds", "new_item_id", "new_response_id", "response_of_item"]

_RESPONSE = re.compile(r"resp_[0-9a-f]{32}")
_ITEM = re.compile(r"(?:msg|fc|fco)_([0-9a-f]{32})[0-9a-f]{4}")
_LAST_MILLISECOND = (1 << 48) - 1
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}


def new_response_id(now_seconds: float) -> str:
    """An id for a response of now."""
    return f"resp_{_LAST_MILLISECOND - int(now_seconds * 1000):012x}{secrets.token_hex(10)}"


def is_response_id(text: str) -> bool:
    """Whether this could be an id that we gave out."""
    return _RESPONSE.fullmatch(text) is not None


def made_at_seconds(response_id: str) -> float:
    """When the id was made, in seconds since the epoch."""
    return (_LAST_MILLISECOND - int(response_id[5:17], 16)) / 1000


def new_item_id(response_id: str, kind: str, number: int) -> str:
    """The id of an item of the type ``kind``, the ``number``-th that came with a response."""
    return f"{_PREFIXES[kind]}_{response_id[5:]}{number:04x}"


def response_of_item(item_id: str) -> str | None:
    """The response that an item came with; ``None`` for ids that are not ours."""
    found = _ITEM.fullmatch(item_id)
    return None if found is None else f"resp_{found[1]}"
