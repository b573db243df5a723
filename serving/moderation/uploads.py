"""Files that are uploaded, held against a tenant's policy before they are kept."""

from __future__ import annotations

import asyncio

from encoders.types import MediaInfo
from serving.config import RequestLimits
from serving.moderation.gate import Guard
from storage.media import MediaStore
from storage.types import MediaRef

__all__ = ["look_through"]

_LONGEST_CHARACTER = 4  # bytes


async def look_through(
    guard: Guard,
    media: MediaStore,
    ref: MediaRef,
    info: MediaInfo | None,
    limits: RequestLimits,
    param: str | None,
) -> None:
    """Raise ``ContentRefused`` for a stored file that may not be kept.

    Pictures, frames of videos, and plain texts are looked at. Not so: what is said in a recording and read in a
    picture, which is found out, and held against the policy, when it is indexed or asked about; lists of lines
    (``application/jsonl``), whose lines are when they are worked on; texts and media too large for anything here to
    read, and other files, which nothing here reads.
    """
    if info is not None:
        await guard.medium(ref, info, param)
    elif (
        ref.content_type == "text/plain" and ref.size_bytes <= _LONGEST_CHARACTER * limits.max_text_characters
    ):
        data = await asyncio.to_thread(media.read, ref)
        await guard.texts((data.decode("utf-8", "replace"),), param)
