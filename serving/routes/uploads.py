"""``/v1/uploads``, OpenAI's: large files in parts."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from serving.auth import CurrentTenant
from serving.concurrency import to_the_end
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest, LimitExceeded
from serving.gateway import gateway_of
from serving.openapi import form_body
from serving.protocol.files import lifetime_seconds
from serving.protocol.uploads import (
    CompleteRequest,
    PartObject,
    UploadObject,
    UploadRequest,
    part_object,
    upload_object,
)
from serving.routes.body import json_schema, open_form, read_model, uploaded_file

__all__ = ["router"]

router = APIRouter()


@router.post("/v1/uploads", openapi_extra=json_schema(UploadRequest))
async def create_upload(request: Request, tenant: CurrentTenant) -> UploadObject:
    """Announce a large file; its parts may come for an hour."""
    gateway = gateway_of(request)
    wanted = await read_model(request, UploadRequest)
    limit = gateway.config.limits.max_upload_bytes
    if wanted.bytes > limit:
        raise LimitExceeded(f"An upload can have at most {limit} bytes (max_upload_bytes).", "bytes")
    upload = await asyncio.to_thread(
        gateway.storage.uploads.create,
        tenant,
        wanted.filename,
        wanted.purpose,
        wanted.bytes,
        lifetime_seconds(wanted.purpose, wanted.expires_after),
    )
    return upload_object(upload)


@router.post("/v1/uploads/{upload_id}/parts", openapi_extra=form_body("data"))
async def add_upload_part(request: Request, upload_id: str, tenant: CurrentTenant) -> PartObject:
    """Add a part: multipart form with ``data``. Parts may come in any order, and several at once."""
    gateway = gateway_of(request)
    uploads = gateway.storage.uploads
    # Before the body is read: it may be large.
    await asyncio.to_thread(uploads.pending, tenant, upload_id)
    async with open_form(request) as form:
        upload = uploaded_file(form, "data")
        unknown = [name for name in form if name != "data"]
        if unknown:
            raise InvalidRequest("Only the field 'data' is read.", unknown[0][:64], "unknown_parameter")
        limit = gateway.config.limits.max_part_bytes
        async with gateway.stored.kept(tenant, upload.size or 0):
            # To its end: the form closes the file that the thread reads.
            adding = asyncio.to_thread(uploads.add_part, tenant, upload_id, upload.file, limit)
            return part_object(await to_the_end(adding))


@router.post("/v1/uploads/{upload_id}/complete", openapi_extra=json_schema(CompleteRequest))
async def complete_upload(request: Request, upload_id: str, tenant: CurrentTenant) -> UploadObject:
    """Make a file of the parts in the given order. Again, it answers with the same file."""
    wanted = await read_model(request, CompleteRequest)
    md5 = None if wanted.md5 is None else wanted.md5.lower()
    work = gateway_of(request).completion.complete(tenant, upload_id, wanted.part_ids, md5)
    return upload_object(*await unless_gone(request, work))


@router.post("/v1/uploads/{upload_id}/cancel")
async def cancel_upload(request: Request, upload_id: str, tenant: CurrentTenant) -> UploadObject:
    """Give an upload up; it takes no parts any more."""
    gateway = gateway_of(request)
    upload = await asyncio.to_thread(gateway.storage.uploads.cancel, tenant, upload_id)
    await gateway.stored.freed(tenant)
    return upload_object(upload)
