"""Which requests should meet the same replica of the decoder: those whose prompts begin alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from serving.services import Attachment, NativeMedium

__all__ = ["AFFINITY_HEADER", "affinity"]

AFFINITY_HEADER = "x-manymodal-affinity"
"""Between gateway and engine only: what ``affinity`` says. The adapter to Ray takes it off and routes by it."""

_OF_AN_ADAPTER = 2  # replicas; each that is asked has to load it


def affinity(body: Mapping[str, Any], attachments: Sequence[Attachment], *, adapted: bool) -> str:
    """A key, the same for all turns of a conversation: of its model, its tenant's salt, and its messages up to the
    user's first, with their media. The engine keeps what it has computed of such a beginning (vLLM's prefix cache
    and, for media, its processor's), so whoever computed it once answers the next turn sooner.

    With ``adapted`` the model is an adapter of the decoder, and all that ask for it share a few keys.
    """
    messages = list[Any]()
    for message in body["messages"]:
        messages.append(message)
        if message.get("role") == "user":
            break
    # Media that later turns bring do not count: they would send the conversation elsewhere.
    media = [attachments[place] for message in messages for place in _places(message)]
    seen = [medium.content_id for medium in media if isinstance(medium, NativeMedium)]
    beginning = [body["model"], body.get("cache_salt"), body.get("tools"), messages, seen]
    digest = hashlib.sha256(msgspec.json.encode(beginning)).hexdigest()
    if adapted:
        return f"{body['model']}/{int(digest[:8], 16) % _OF_AN_ADAPTER}"
    return digest


def _places(message: Mapping[str, Any]) -> Iterator[int]:
    """Which attachments a message refers to."""
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") == "attachment":
            yield part["index"]
