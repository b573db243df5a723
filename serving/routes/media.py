"""``/v1/media``: upload once, use the id everywhere."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from serving.admission import AdmittedMedia
from serving.auth import CurrentTenant
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest
from serving.gateway import gateway_of
from serving.protocol.media import MediaDeleted, MediaRequest, media_object
from serving.routes.body import open_form, read_model

__all__ = ["router"]

router = APIRouter()


@router.post("/v1/media")
async def create_media(request: Request, tenant: CurrentTenant) -> dict[str, Any]:
    """Store a medium: multipart form with ``file``, or JSON with ``url`` or ``data`` (a ``data:`` URL)."""
    admission = gateway_of(request).admission
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with open_form(request) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise InvalidRequest(
                    "Missing required parameter: 'file'.", "file", "missing_required_parameter"
                )
            unknown = [name for name in form if name != "file"]
            if unknown:
                raise InvalidRequest("Only the field 'file' is read.", unknown[0][:64], "unknown_parameter")
            work = admission.from_file(tenant, upload.file, upload.filename, param="file")
            return _shown(request, await unless_gone(request, work))
    wanted = await read_model(request, MediaRequest)
    if (wanted.url is None) == (wanted.data is None):
        raise InvalidRequest("Send exactly one of 'url' and 'data'.", "url")
    param, reference = ("url", wanted.url) if wanted.url is not None else ("data", wanted.data)
    expected_start = ("http://", "https://") if param == "url" else ("data:",)
    if reference is None or not reference[:8].lower().startswith(expected_start):
        raise InvalidRequest(f"'{param}' must begin with {' or '.join(expected_start)}.", param)
    work = admission.from_reference(tenant, reference, param=param, filename=wanted.filename)
    return _shown(request, await unless_gone(request, work))


@router.get("/v1/media/{media_id}")
async def get_media(request: Request, media_id: str, tenant: CurrentTenant) -> dict[str, Any]:
    """A medium's facts."""
    return _shown(request, await gateway_of(request).admission.from_id(tenant, media_id))


@router.get("/v1/media/{media_id}/content")
async def get_media_content(request: Request, media_id: str, tenant: CurrentTenant) -> Response:
    """A medium's bytes, never rendered by a browser: as an attachment, with its type and no sniffing."""
    media = gateway_of(request).media
    record = await asyncio.to_thread(media.get, tenant, media_id)
    content = await asyncio.to_thread(media.open_bytes, record.ref)
    name = quote(record.filename or media_id, safe="")
    return Response(
        content,
        media_type=record.ref.content_type,
        headers={
            "content-disposition": f"attachment; filename*=UTF-8''{name}",
            "content-security-policy": "default-src 'none'; sandbox",
            "cross-origin-resource-policy": "same-origin",
        },
    )


@router.delete("/v1/media/{media_id}")
async def delete_media(request: Request, media_id: str, tenant: CurrentTenant) -> MediaDeleted:
    """Forget a medium and, with its last id, everything derived from it."""
    await asyncio.to_thread(gateway_of(request).media.delete, tenant, media_id)
    return MediaDeleted(id=media_id)


def _shown(request: Request, admitted: AdmittedMedia) -> dict[str, Any]:
    request.state.modality = admitted.info.kind.value
    return media_object(admitted.record, admitted.info)
