"""Wire schema of ``/v1/files``, OpenAI's, and of download links, ours."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from storage.types import MediaRecord

__all__ = [
    "ExpiresAfter",
    "File",
    "FileDeleted",
    "FileList",
    "FileRequest",
    "Link",
    "LinkRequest",
    "Purpose",
    "file_object",
    "lifetime_seconds",
]

Purpose: TypeAlias = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""What a client may say a file is for."""

_BATCH_SECONDS = 30 * 24 * 3600


class ExpiresAfter(BaseModel):
    """How long after its creation a file is deleted: an hour to thirty days. Forms bring numbers as text."""

    model_config = ConfigDict(extra="forbid")
    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class FileRequest(BaseModel):
    """The form's fields besides ``file``."""

    model_config = ConfigDict(extra="forbid")
    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class LinkRequest(BaseModel):
    """For how long anyone who has the link may download the file."""

    model_config = ConfigDict(extra="forbid")
    expires_in_seconds: Annotated[StrictInt, Field(ge=60, le=604_800)] = 3600


class File(BaseModel):
    """A stored file. ``purpose`` is ``inline`` for a medium that came inside another request."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None


class FileList(BaseModel):
    """One page of files; ``last_id`` is the next page's ``after``."""

    object: Literal["list"] = "list"
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class Link(BaseModel):
    """A download link that needs no key, until ``expires_at``."""

    object: Literal["link"] = "link"
    url: str
    expires_at: int


def file_object(record: MediaRecord) -> File:
    """A record on the wire."""
    return File(
        id=record.ref.id,
        bytes=record.ref.size_bytes,
        created_at=record.created_at_seconds,
        expires_at=record.expires_at_seconds,
        filename=record.filename or record.ref.id,
        purpose=record.purpose,
    )


def lifetime_seconds(purpose: str, expires_after: ExpiresAfter | None) -> int | None:
    """How long a file is kept: as asked for, else 30 days for batches and for ever for all else, as OpenAI
    does.
    """
    if expires_after is not None:
        return expires_after.seconds
    return _BATCH_SECONDS if purpose == "batch" else None
