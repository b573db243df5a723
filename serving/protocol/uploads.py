"""Wire schema of ``/v1/uploads``, OpenAI's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from serving.protocol.files import ExpiresAfter, File, Purpose, file_object
from storage.types import MediaRecord
from storage.uploads import Upload, UploadPart

__all__ = ["CompleteRequest", "PartObject", "UploadObject", "UploadRequest", "part_object", "upload_object"]


class UploadRequest(BaseModel):
    """What is going to be uploaded. ``mime_type`` is OpenAI's; the bytes themselves say what they are."""

    model_config = ConfigDict(extra="forbid")
    filename: Annotated[StrictStr, Field(min_length=1, max_length=255)]
    purpose: Purpose
    bytes: Annotated[StrictInt, Field(ge=1)]
    mime_type: Annotated[StrictStr, Field(max_length=255)]
    expires_after: ExpiresAfter | None = None


class CompleteRequest(BaseModel):
    """The parts in their order, and what MD5 (32 hex digits) they have together."""

    model_config = ConfigDict(extra="forbid")
    part_ids: Annotated[
        list[Annotated[StrictStr, Field(max_length=128)]], Field(min_length=1, max_length=10_000)
    ]
    md5: Annotated[StrictStr, Field(pattern="^[0-9a-fA-F]{32}$")] | None = None


class UploadObject(BaseModel):
    """An upload; ``file`` is there once it is completed, until that file is deleted."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    expires_at: int
    file: File | None


class PartObject(BaseModel):
    """A stored part."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def upload_object(upload: Upload, file: MediaRecord | None = None) -> UploadObject:
    """An upload on the wire."""
    return UploadObject(
        id=upload.id,
        bytes=upload.size_bytes,
        created_at=upload.created_at_seconds,
        filename=upload.filename,
        purpose=upload.purpose,
        status=upload.status,
        expires_at=upload.expires_at_seconds,
        file=None if file is None else file_object(file),
    )


def part_object(part: UploadPart) -> PartObject:
    """A part on the wire."""
    return PartObject(id=part.id, created_at=part.created_at_seconds, upload_id=part.upload_id)
