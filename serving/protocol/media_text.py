"""Wire schema of ``/v1/media/{id}/text``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from encoders.types import MediaInfo, TextLine

__all__ = ["MediaText", "WrittenLine", "media_text"]


class WrittenLine(BaseModel):
    """A line of text in a picture. ``box`` is its four corners ``[x, y]`` in pixels of the upright picture,
    clockwise from top-left; ``confidence`` is in [0, 1].
    """

    text: str
    confidence: float
    box: list[tuple[float, float]]


class MediaText(BaseModel):
    """What is written in a picture of ``width`` x ``height`` pixels, in reading order. ``cache``: whether it had
    been read before.
    """

    id: str
    object: Literal["media.text"] = "media.text"
    width: int | None
    height: int | None
    lines: list[WrittenLine]
    cache: Literal["hit", "miss"]


def media_text(media_id: str, info: MediaInfo, lines: Sequence[TextLine], tier: str) -> MediaText:
    """What the encoders read, on the wire."""
    return MediaText(
        id=media_id,
        width=info.width,
        height=info.height,
        lines=[
            WrittenLine(
                text=line.text,
                confidence=round(line.confidence, 4),
                box=[(round(x, 1), round(y, 1)) for x, y in line.box],
            )
            for line in lines
        ],
        cache="miss" if tier == "miss" else "hit",
    )
