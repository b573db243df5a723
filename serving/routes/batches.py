"""``/v1/batches``, OpenAI's: files of requests that are answered in the background."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request

from serving.auth import CurrentCaller, CurrentTenant
from serving.batches.sending import ENDPOINTS
from serving.errors import PermissionDenied
from serving.gateway import gateway_of
from serving.protocol.batches import Batch, BatchList, CreateBatchRequest, batch_object
from serving.protocol.files import lifetime_seconds
from serving.routes.body import json_schema, read_model

__all__ = ["router"]

router = APIRouter()


@router.post("/v1/batches", openapi_extra=json_schema(CreateBatchRequest), response_model_exclude_none=True)
async def create_batch(request: Request, tenant: CurrentTenant, caller: CurrentCaller) -> Batch:
    """Answer the requests of an uploaded file. The key must be good for these requests, too."""
    batches = gateway_of(request).batches
    wanted = await read_model(request, CreateBatchRequest)
    needed = ENDPOINTS[wanted.endpoint]
    if needed not in caller.scopes:
        raise PermissionDenied(
            f"This API key has no permission for this endpoint: it lacks the scope '{needed}'.", "endpoint"
        )
    lifetime = lifetime_seconds("batch", wanted.output_expires_after)
    view = await asyncio.to_thread(
        batches.create, tenant, wanted.endpoint, wanted.input_file_id, wanted.metadata, lifetime
    )
    batches.runner.wake()
    return batch_object(view)


@router.get("/v1/batches", response_model_exclude_none=True)
async def list_batches(
    request: Request,
    tenant: CurrentTenant,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> BatchList:
    """Batches, newest first."""
    views = await asyncio.to_thread(gateway_of(request).batches.views, tenant, after, limit + 1)
    data = [batch_object(view) for view in views[:limit]]
    ids = (data[0].id, data[-1].id) if data else (None, None)
    return BatchList(data=data, first_id=ids[0], last_id=ids[1], has_more=len(views) > limit)


@router.get("/v1/batches/{batch_id}", response_model_exclude_none=True)
async def get_batch(request: Request, batch_id: str, tenant: CurrentTenant) -> Batch:
    """How far a batch is."""
    return batch_object(await asyncio.to_thread(gateway_of(request).batches.view, tenant, batch_id))


@router.post("/v1/batches/{batch_id}/cancel", response_model_exclude_none=True)
async def cancel_batch(request: Request, batch_id: str, tenant: CurrentTenant) -> Batch:
    """Stop a batch; what was answered is given."""
    batches = gateway_of(request).batches
    view = await asyncio.to_thread(batches.cancel, tenant, batch_id)
    batches.runner.notice(view.batch)
    return batch_object(view)
