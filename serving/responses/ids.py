"""Ids of responses and of the items in them.

A response's id tells when it was made (``serving.newest_first``), so its age is known without reading it. An item's
id names the response that it came with: a reference to an item leads to where it is kept.
"""

from __future__ import annotations

import re

from serving import newest_first
from serving.newest_first import newest_first_id

__all__ = ["is_response_id", "made_at_seconds", "new_item_id", "new_response_id", "response_of_item"]

_RESPONSE = re.compile(r"resp_[0-9a-f]{32}")
_ITEM = re.compile(r"(?:msg|fc|fco)_([0-9a-f]{32})[0-9a-f]{4}")
_PREFIX = "resp_"
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}


def new_response_id(now_seconds: float) -> str:
    """An id for a response of now."""
    return newest_first_id(_PREFIX, now_seconds)


def is_response_id(text: str) -> bool:
    """Whether this could be an id that we gave out."""
    return _RESPONSE.fullmatch(text) is not None


def made_at_seconds(response_id: str) -> float:
    """When the id was made, in seconds since the epoch."""
    return newest_first.made_at_seconds(response_id, _PREFIX)


def new_item_id(response_id: str, kind: str, number: int) -> str:
    """The id of an item of the type ``kind``, the ``number``-th that came with a response."""
    return f"{_PREFIXES[kind]}_{response_id[5:]}{number:04x}"


def response_of_item(item_id: str) -> str | None:
    """The response that an item came with; ``None`` for ids that are not ours."""
    found = _ITEM.fullmatch(item_id)
    return None if found is None else f"resp_{found[1]}"
