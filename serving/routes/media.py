"""``/v1/media``: upload once, use the id everywhere."""

from __future__ import annotations

import asyncio
import logging
from math import floor
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from encoders.types import MediaInfo, MediaKind
from serving import origin
from serving.admission import AdmittedMedia
from serving.auth import CurrentTenant
from serving.byte_range import matches_etag
from serving.content import content_response
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest
from serving.gateway import gateway_of
from serving.media_pages import media_page
from serving.near_duplicates import near_duplicates
from serving.openapi import bytes_answer
from serving.protocol.files import Link, LinkRequest
from serving.protocol.media import MediaDeleted, MediaList, MediaRequest, media_list, media_object
from serving.routes.body import is_form, json_schema, open_form, read_model, uploaded_file
from serving.routes.links import link_to
from storage.errors import MediaNotFound, StorageError

__all__ = ["router"]

router = APIRouter()

_THUMBNAIL_STEP_PIXELS = 64  # every size is kept beside the medium: let there be few

_LATEST_SECONDS = 1e6
_MOMENTS_PER_SECOND = 1000

_MAX_LISTED = 100

_SEEN = frozenset({MediaKind.IMAGE, MediaKind.VIDEO})

_log = logging.getLogger("manymodal.gateway")


@router.post("/v1/media", openapi_extra=json_schema(MediaRequest, "file"))
async def create_media(request: Request, tenant: CurrentTenant) -> dict[str, Any]:
    """Store a medium: multipart form with ``file``, or JSON with ``url`` or ``data`` (a ``data:`` URL)."""
    admission = gateway_of(request).admission
    if is_form(request):
        async with open_form(request) as form:
            upload = uploaded_file(form, "file")
            unknown = [name for name in form if name != "file"]
            if unknown:
                raise InvalidRequest("Only the field 'file' is read.", unknown[0][:64], "unknown_parameter")
            work = admission.file_upload(tenant, upload.file, upload.filename)
            return await _kept(request, cast(AdmittedMedia, await unless_gone(request, work)))
    wanted = await read_model(request, MediaRequest)
    if (wanted.url is None) == (wanted.data is None):
        raise InvalidRequest("Send exactly one of 'url' and 'data'.", "url")
    param, reference = ("url", wanted.url) if wanted.url is not None else ("data", wanted.data)
    expected_start = ("http://", "https://") if param == "url" else ("data:",)
    if reference is None or not reference[:8].lower().startswith(expected_start):
        raise InvalidRequest(f"'{param}' must begin with {' or '.join(expected_start)}.", param)
    bringing = admission.reference_upload(tenant, reference, wanted.filename, param=param)
    return await _kept(request, await unless_gone(request, bringing))


@router.get("/v1/media")
async def list_media(
    request: Request,
    tenant: CurrentTenant,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 20,
    kind: MediaKind | None = None,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> MediaList:
    """Images, sound and videos, newest first. Those that came inside other requests are listed for the purpose
    ``inline``.
    """
    media = gateway_of(request).storage.media
    try:
        page = await asyncio.to_thread(media_page, media, tenant, after, limit, kind, purpose)
    except MediaNotFound:
        raise InvalidRequest("'after' must be the id of a file.", "after") from None
    return media_list(page)


@router.get("/v1/media/{media_id}")
async def get_media(request: Request, media_id: str, tenant: CurrentTenant) -> dict[str, Any]:
    """A medium's facts."""
    return await _shown(request, await gateway_of(request).admission.from_id(tenant, media_id))


@router.head("/v1/media/{media_id}/content", include_in_schema=False)
@router.get("/v1/media/{media_id}/content", response_class=Response, responses=bytes_answer())
async def get_media_content(request: Request, media_id: str, tenant: CurrentTenant) -> Response:
    """A medium's bytes, whole or a range of them."""
    return await content_response(request, tenant, media_id)


@router.get("/v1/media/{media_id}/thumbnail", response_class=Response, responses=bytes_answer("image/jpeg"))
async def get_media_thumbnail(
    request: Request,
    media_id: str,
    tenant: CurrentTenant,
    size: Annotated[int, Query(ge=64, le=1024)] = 256,
    time_seconds: Annotated[float | None, Query(ge=0, le=_LATEST_SECONDS, allow_inf_nan=False)] = None,
) -> Response:
    """A picture, or a frame of a video, as a JPEG whose longer side has at most ``size`` pixels. With
    ``time_seconds`` it is the frame that is shown then.
    """
    gateway = gateway_of(request)
    side = size - size % _THUMBNAIL_STEP_PIXELS
    admitted = await gateway.admission.from_id(tenant, media_id, _SEEN)
    moment = None if time_seconds is None else _moment(admitted.info, time_seconds)
    origin.brings(admitted.info.kind.value)
    headers = {
        # A browser that keeps it for an hour shows it as long after a deletion, to the one who had seen it.
        "cache-control": "private, max-age=3600",
        "etag": f'"{media_id}-{side}"' if moment is None else f'"{media_id}-{side}-{moment:.3f}"',
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
    }
    if matches_etag(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    content = await unless_gone(request, gateway.perceiver.thumbnail(admitted.record.ref, side, moment))
    return Response(content, headers=headers, media_type="image/jpeg")


@router.post("/v1/media/{media_id}/link", openapi_extra=json_schema(LinkRequest))
async def create_media_link(request: Request, media_id: str, tenant: CurrentTenant) -> Link:
    """A download link that needs no key, for a while."""
    return await link_to(request, tenant, media_id)


@router.delete("/v1/media/{media_id}")
async def delete_media(request: Request, media_id: str, tenant: CurrentTenant) -> MediaDeleted:
    """Forget a medium: what was found in it leaves the collections, and with the last id of its content the
    bytes and everything derived from them go.
    """
    await gateway_of(request).remover.remove(tenant, media_id)
    return MediaDeleted(id=media_id)


def _moment(info: MediaInfo, seconds: float) -> float:
    """The moment of a video, in steps that are finer than frames are long: the thumbnail of each is kept beside the
    medium. Never later than it was asked for.
    """
    if info.kind is not MediaKind.VIDEO:
        raise InvalidRequest("'time_seconds' is a moment of a video; this is a picture.", "time_seconds")
    length = info.duration_seconds
    if length is not None and seconds >= length:
        raise InvalidRequest(
            f"'time_seconds' is {seconds:g}, but the video is only {length:.2f} seconds long.", "time_seconds"
        )
    # The millionth: 1.001 times 1000 is less than 1001.
    return floor(seconds * _MOMENTS_PER_SECOND + 1e-6) / _MOMENTS_PER_SECOND


async def _kept(request: Request, admitted: AdmittedMedia) -> dict[str, Any]:
    """The answer to an upload. It is stored: a store that fails now must not make it seem otherwise."""
    try:
        return await _shown(request, admitted)
    except StorageError as error:
        _log.warning("Near-duplicates of an upload could not be looked for: %s", error)
        return media_object(admitted.record, admitted.info, None)


async def _shown(request: Request, admitted: AdmittedMedia) -> dict[str, Any]:
    origin.brings(admitted.info.kind.value)
    record = admitted.record
    near = await asyncio.to_thread(near_duplicates, gateway_of(request).storage, record)
    return media_object(record, admitted.info, near)
