"""Wire schema of ``/v1/media``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from encoders.types import MediaInfo
from serving.media_pages import MediaPage
from serving.near_duplicates import NearDuplicate
from storage.types import MediaRecord, modality_of

__all__ = [
    "ListedMedia",
    "LookAlike",
    "Media",
    "MediaDeleted",
    "MediaList",
    "MediaRequest",
    "WarmUpRequest",
    "media_list",
    "media_object",
]


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


class ListedMedia(BaseModel):
    """A stored medium in a list: what its record says. Ask for it by its id to know its size and length."""

    id: str
    object: Literal["media.listed"] = "media.listed"
    kind: str
    bytes: int
    content_type: str
    filename: str | None
    purpose: str
    perceptual_hash: str | None
    created_at: int
    expires_at: int | None
    url: str


class MediaList(BaseModel):
    """Media, newest first. ``last_id`` is the next page's ``after``; with ``has_more`` a page may be short."""

    object: Literal["list"] = "list"
    data: list[ListedMedia]
    first_id: str | None
    last_id: str | None
    has_more: bool


class MediaDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["media.deleted"] = "media.deleted"
    deleted: Literal[True] = True


def media_list(page: MediaPage) -> MediaList:
    """A page of media on the wire."""
    data = [
        ListedMedia(
            id=record.ref.id,
            kind=modality_of(record.ref.content_type),
            bytes=record.ref.size_bytes,
            content_type=record.ref.content_type,
            filename=record.filename,
            purpose=record.purpose,
            perceptual_hash=record.perceptual_hash,
            created_at=record.created_at_seconds,
            expires_at=record.expires_at_seconds,
            url=f"/v1/media/{record.ref.id}/content",
        )
        for record in page.records
    ]
    return MediaList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=page.after if page.after is not None else data[-1].id if data else None,
        has_more=page.after is not None,
    )


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
