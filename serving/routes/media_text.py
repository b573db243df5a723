"""``/v1/media/{id}/text``: what is written in a picture, and where."""

from __future__ import annotations

from fastapi import APIRouter, Request

from encoders.types import MediaKind
from serving import origin
from serving.auth import CurrentTenant
from serving.disconnect import unless_gone
from serving.gateway import gateway_of
from serving.protocol.media_text import MediaText, media_text

__all__ = ["router"]

router = APIRouter()

_READ = frozenset({MediaKind.IMAGE})


@router.get("/v1/media/{media_id}/text")
async def get_media_text(request: Request, media_id: str, tenant: CurrentTenant) -> MediaText:
    """The lines of text in a picture, with their places. Read once; what a chat has read is not read again."""
    gateway = gateway_of(request)
    admitted = await gateway.admission.from_id(tenant, media_id, _READ)
    origin.brings(admitted.info.kind.value)
    lines, tier = await unless_gone(request, gateway.perceiver.read_text(admitted.record.ref))
    return media_text(media_id, admitted.info, lines, tier)
