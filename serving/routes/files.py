"""``/v1/files``, OpenAI's: files of any kind; media among them are known to every other route by the same id."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from serving import origin
from serving.auth import CurrentTenant
from serving.content import content_response
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest, LimitExceeded
from serving.gateway import gateway_of
from serving.openapi import bytes_answer, form_body
from serving.protocol.files import (
    File,
    FileDeleted,
    FileList,
    FileRequest,
    Link,
    LinkRequest,
    file_object,
    lifetime_seconds,
)
from serving.protocol.parse import validated
from serving.routes.body import json_schema, open_form, uploaded_file
from serving.routes.links import link_to
from storage.errors import MediaNotFound

__all__ = ["router"]

router = APIRouter()

_MAX_LISTED = 10_000
_EXPIRES_AFTER = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}


@router.post("/v1/files", openapi_extra=form_body("file", FileRequest))
async def create_file(request: Request, tenant: CurrentTenant) -> File:
    """Store a file: multipart form with ``file``, ``purpose`` and, if wanted, ``expires_after[anchor]`` and
    ``expires_after[seconds]``.
    """
    gateway = gateway_of(request)
    async with open_form(request) as form:
        upload = uploaded_file(form, "file")
        wanted = validated(FileRequest, _fields(form))
        limit = gateway.config.limits.max_file_bytes
        if upload.size is not None and upload.size > limit:
            raise LimitExceeded(
                f"The file is larger than {limit} bytes (max_file_bytes). Use /v1/uploads for larger ones.",
                "file",
            )
        if not upload.filename:
            raise InvalidRequest("'file' must have a file name.", "file")
        work = gateway.admission.file_upload(
            tenant,
            upload.file,
            upload.filename,
            wanted.purpose,
            lifetime_seconds(wanted.purpose, wanted.expires_after),
            allow_other=True,
        )
        admitted = await unless_gone(request, work)
    origin.brings("none" if admitted.info is None else admitted.info.kind.value)
    return file_object(admitted.record)


@router.get("/v1/files")
async def list_files(
    request: Request,
    tenant: CurrentTenant,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = _MAX_LISTED,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> FileList:
    """Files by time of creation. Media that came inside other requests are listed for the purpose ``inline``."""
    media = gateway_of(request).storage.media
    try:
        records = await asyncio.to_thread(
            media.list, tenant, after=after, limit=limit + 1, newest_first=order == "desc", purpose=purpose
        )
    except MediaNotFound:
        raise InvalidRequest("'after' must be the id of a file.", "after") from None
    data = [file_object(record) for record in records[:limit]]
    return FileList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(records) > limit,
    )


@router.get("/v1/files/{file_id}")
async def get_file(request: Request, file_id: str, tenant: CurrentTenant) -> File:
    """A file's facts."""
    return file_object(await asyncio.to_thread(gateway_of(request).storage.media.get, tenant, file_id))


@router.delete("/v1/files/{file_id}")
async def delete_file(request: Request, file_id: str, tenant: CurrentTenant) -> FileDeleted:
    """Forget a file: what was found in it leaves the collections, and with the last id of its content the bytes
    and everything derived from them go.
    """
    await gateway_of(request).remover.remove(tenant, file_id)
    return FileDeleted(id=file_id)


@router.head("/v1/files/{file_id}/content", include_in_schema=False)
@router.get("/v1/files/{file_id}/content", response_class=Response, responses=bytes_answer())
async def get_file_content(request: Request, file_id: str, tenant: CurrentTenant) -> Response:
    """A file's bytes, whole or a range of them."""
    return await content_response(request, tenant, file_id)


@router.post("/v1/files/{file_id}/link", openapi_extra=json_schema(LinkRequest))
async def create_file_link(request: Request, file_id: str, tenant: CurrentTenant) -> Link:
    """A download link that needs no key, for a while."""
    return await link_to(request, tenant, file_id)


def _fields(form: FormData) -> dict[str, Any]:
    """The form's text fields; the official clients write ``expires_after`` as two of them."""
    fields: dict[str, Any] = {}
    for key in form:
        if key == "file":
            continue
        value = form.getlist(key)[-1]
        if isinstance(value, UploadFile):
            raise InvalidRequest(f"'{key[:64]}' must be text, not a file.", key[:64])
        if key in _EXPIRES_AFTER:
            fields.setdefault("expires_after", {})[_EXPIRES_AFTER[key]] = value
        else:
            fields[key] = value
    return fields
