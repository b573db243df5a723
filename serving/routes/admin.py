"""``/v1/admin``, ours: for whoever looks after the platform."""

from __future__ import annotations

from fastapi import APIRouter, Request

from serving.gateway import gateway_of
from serving.protocol.admin import PoolList, pool_list

__all__ = ["router"]

router = APIRouter()


@router.get("/v1/admin/pools")
async def get_pools(request: Request) -> PoolList:
    """Every deployment with its replicas and its health, and how calls of it from this gateway fare."""
    gateway = gateway_of(request)
    pools = gateway.services.pools
    return pool_list(() if pools is None else await pools.status(), gateway.metrics.queues.queues)
