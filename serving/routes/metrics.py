"""``GET /metrics``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from serving.gateway import gateway_of
from serving.openapi import bytes_answer
from serving.services import ChatEngine, EngineResponse

__all__ = ["router"]

router = APIRouter()

_TIMEOUT_SECONDS = 5.0
_log = logging.getLogger("manymodal.gateway")


@router.get("/metrics", response_class=Response, responses=bytes_answer("text/plain"))
async def metrics(request: Request) -> Response:
    """The gateway's metrics, behind them those of the encoders and the engine when they answer. Those
    that may sleep are not asked.
    """
    gateway = gateway_of(request)
    services = gateway.services
    pools = services.pools
    may_sleep = frozenset[str]() if pools is None else pools.may_sleep
    others = await asyncio.gather(
        _unless_in_trouble("encoders", services.perception.metrics()),
        _unless_in_trouble("engine", _engine_metrics(services.engine, asked="engine" not in may_sleep)),
    )
    return Response(b"".join((gateway.metrics.exposition(), *others)), media_type=CONTENT_TYPE_LATEST)


async def _unless_in_trouble(service: str, asked: Awaitable[bytes]) -> bytes:
    """What a service says, or nothing: our own metrics matter most while others are in trouble."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await asked
    except Exception as error:
        _log.warning("The %s gave no metrics: %s", service, type(error).__name__)
        return b""


async def _engine_metrics(engine: ChatEngine, *, asked: bool) -> bytes:
    body = b""
    if not asked:  # it would wake it, or keep it awake
        return body
    async for item in engine.request("GET", "/metrics", {"accept": "text/plain"}, b""):
        if isinstance(item, EngineResponse):
            if item.status != 200:
                return b""
        else:
            body += item
    return body
