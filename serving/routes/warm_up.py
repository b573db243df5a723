"""``POST /v1/media/warm_up``: bring what is known of some media back into the caches, before it is asked for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request

from serving.auth import CurrentTenant
from serving.concurrency import all_of
from serving.disconnect import unless_gone
from serving.gateway import Gateway, gateway_of
from serving.protocol.media import WarmUpRequest
from serving.routes.body import json_schema, read_model
from storage.errors import CorruptObject, MediaNotFound
from storage.types import MediaRecord, modality_of

__all__ = ["router"]

router = APIRouter()

_READERS = 8  # each record is a round trip to the store


@router.post("/v1/media/warm_up", openapi_extra=json_schema(WarmUpRequest))
async def warm_up(request: Request, tenant: CurrentTenant) -> dict[str, Any]:
    """Load what was derived of these media from the store into memory and Redis. Nothing is computed."""
    wanted = await read_model(request, WarmUpRequest)
    return await unless_gone(request, _warm_up(gateway_of(request), tenant, wanted.ids))


async def _warm_up(gateway: Gateway, tenant: str, ids: list[str]) -> dict[str, Any]:
    wanted = list(dict.fromkeys(ids))
    slices = [wanted[start::_READERS] for start in range(_READERS)]
    found = await all_of(asyncio.to_thread(_found, gateway, tenant, some) for some in slices)
    records = {record.ref.id: record for some in found for record in some}
    sources = [
        (tenant, record.ref.sha256, modality_of(record.ref.content_type)) for record in records.values()
    ]
    report = await gateway.storage.derived.warm_up(sources)
    return {
        "object": "media.warm_up",
        "loaded": report.loaded,
        "loaded_bytes": report.loaded_bytes,
        "complete": report.complete,
        "not_found": [media_id for media_id in wanted if media_id not in records],
    }


def _found(gateway: Gateway, tenant: str, ids: list[str]) -> list[MediaRecord]:
    records = []
    for media_id in ids:
        with suppress(MediaNotFound, CorruptObject):
            records.append(gateway.storage.media.get(tenant, media_id))
    return records
