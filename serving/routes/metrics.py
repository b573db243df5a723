"""``GET /metrics``."""

from __future__ import annotations

import asyncio
import logging

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from serving.gateway import gateway_of
from serving.services import ChatEngine, EngineResponse

__all__ = ["router"]

router = APIRouter()

_ENGINE_TIMEOUT_SECONDS = 5.0
_log = logging.getLogger("manymodal.gateway")


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """The gateway's metrics, and the engine's own behind them when it answers."""
    gateway = gateway_of(request)
    body = gateway.metrics.exposition() + await _engine_metrics(gateway.services.engine)
    return Response(body, media_type=CONTENT_TYPE_LATEST)


async def _engine_metrics(engine: ChatEngine) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(_ENGINE_TIMEOUT_SECONDS):
            async for item in engine.request("GET", "/metrics", {"accept": "text/plain"}, b""):
                if isinstance(item, EngineResponse):
                    if item.status != 200:
                        return b""
                else:
                    body += item
    except Exception as error:
        # Our own metrics matter most while the engine is in trouble.
        _log.warning("The engine gave no metrics: %s", type(error).__name__)
        return b""
    return body
