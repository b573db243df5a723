"""Wire schema of ``/v1/media``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from encoders.types import MediaInfo
from serving.near_duplicates import NearDuplicate
from storage.types import MediaRecord

__all__ = ["LookAlike", "Media", "MediaDeleted", "MediaRequest", "WarmUpRequest", "media_object"]


class MediaRequest(BaseModel):
    """Media by reference: exactly one of an http(s) ``url`` and ``data`` (a ``data:`` URL)."""

    model_config = ConfigDict(extra="forbid")
    url: StrictStr | None = None
    data: StrictStr | None = None
    filename: Annotated[StrictStr, Field(max_length=255)] | None = None


class WarmUpRequest(BaseModel):
    """Ids of media whose derived results are to be cached."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[StrictStr], Field(min_length=1, max_length=1000)]


class LookAlike(BaseModel):
    """Another picture that looks alike: how many of the 64 bits of their perceptual hashes differ."""

    id: str
    distance: int


class Media(BaseModel):
    """A stored medium. What does not apply to its kind is ``null``.

    ``perceptual_hash`` (64-bit pHash in hex) and ``near_duplicates`` are for uploaded pictures; the latter are
    ``null`` too when the store failed right after an upload.
    """

    id: str
    object: Literal["media"] = "media"
    kind: str
    bytes: int
    content_type: str
    filename: str | None
    purpose: str
    width: int | None
    height: int | None
    duration_seconds: float | None
    frames_per_second: float | None
    has_audio: bool
    perceptual_hash: str | None
    near_duplicates: list[LookAlike] | None
    created_at: int
    expires_at: int | None
    url: str


class MediaDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["media.deleted"] = "media.deleted"
    deleted: Literal[True] = True


def media_object(
    record: MediaRecord, info: MediaInfo, near: Sequence[NearDuplicate] | None
) -> dict[str, Any]:
    """A record, its facts, and the pictures that look like it (``None``: not known), on the wire."""
    return Media(
        id=record.ref.id,
        kind=info.kind.value,
        bytes=record.ref.size_bytes,
        content_type=info.content_type,
        filename=record.filename,
        purpose=record.purpose,
        width=info.width,
        height=info.height,
        duration_seconds=info.duration_seconds,
        frames_per_second=info.frames_per_second,
        has_audio=info.has_audio,
        perceptual_hash=record.perceptual_hash,
        near_duplicates=None
        if near is None
        else [LookAlike(id=other.record.ref.id, distance=other.distance) for other in near],
        created_at=record.created_at_seconds,
        expires_at=record.expires_at_seconds,
        url=f"/v1/media/{record.ref.id}/content",
    ).model_dump()
