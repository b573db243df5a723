"""``/v1/links``: downloads by links that need no key, for stores that cannot be reached themselves."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.content import content_response
from serving.gateway import gateway_of
from serving.openapi import bytes_answer
from serving.protocol.files import Link, LinkRequest
from serving.routes.body import read_model
from storage.errors import MediaNotFound

__all__ = ["link_to", "router"]

router = APIRouter()


@router.head("/v1/links/{token}", include_in_schema=False)
@router.get("/v1/links/{token}", response_class=Response, responses=bytes_answer())
async def follow_link(request: Request, token: str) -> Response:
    """The bytes of the file that a link was made for. Forged, expired and outlived links answer alike."""
    links = gateway_of(request).storage.links
    try:
        return await content_response(request, *links.read(token))
    except MediaNotFound:
        raise links.not_found() from None


async def link_to(request: Request, tenant: str, media_id: str) -> Link:
    """A download link for one file of a tenant: the store's own if it has one that outsiders reach, else ours."""
    storage = gateway_of(request).storage
    wanted = await read_model(request, LinkRequest, may_be_empty=True)
    record = await asyncio.to_thread(storage.media.get, tenant, media_id)
    expires_at = int(time.time()) + wanted.expires_in_seconds
    if record.expires_at_seconds is not None:
        expires_at = min(expires_at, record.expires_at_seconds)
    url = await asyncio.to_thread(
        storage.objects.download_url,
        record.ref.blob_key,
        max(1, expires_at - int(time.time())),
        record.ref.content_type,
        record.filename or media_id,
    )
    if url is None:
        token = storage.links.sign(tenant, media_id, expires_at)
        # Absolute, as it is given to others; the guard has seen to it that the Host is this server's.
        url = str(request.url.replace(path=f"/v1/links/{token}", query=""))
    return Link(url=url, expires_at=expires_at)
