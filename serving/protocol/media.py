"""Wire schema of ``/v1/media``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from encoders.types import MediaInfo
from storage.types import MediaRecord

__all__ = ["Media", "MediaDeleted", "MediaRequest", "media_object"]


class MediaRequest(BaseModel):
    """Media by reference: exactly one of an http(s) ``url`` and ``data`` (a ``data:`` URL)."""

    model_config = ConfigDict(extra="forbid")
    url: StrictStr | None = None
    data: StrictStr | None = None
    filename: Annotated[StrictStr, Field(max_length=255)] | None = None


class Media(BaseModel):
    """A stored medium. What does not apply to its kind is ``null``."""

    id: str
    object: Literal["media"] = "media"
    kind: str
    bytes: int
    content_type: str
    filename: str | None
    width: int | None
    height: int | None
    duration_seconds: float | None
    frames_per_second: float | None
    has_audio: bool
    created_at: int
    url: str


class MediaDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["media.deleted"] = "media.deleted"
    deleted: Literal[True] = True


def media_object(record: MediaRecord, info: MediaInfo) -> dict[str, Any]:
    """A record and its facts on the wire."""
    return Media(
        id=record.ref.id,
        kind=info.kind.value,
        bytes=record.ref.size_bytes,
        content_type=info.content_type,
        filename=record.filename,
        width=info.width,
        height=info.height,
        duration_seconds=info.duration_seconds,
        frames_per_second=info.frames_per_second,
        has_audio=info.has_audio,
        created_at=record.created_at_seconds,
        url=f"/v1/media/{record.ref.id}/content",
    ).model_dump()
