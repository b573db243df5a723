"""``/health`` and ``/ready``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.degradation import MAY_BE_MISSING
from serving.gateway import gateway_of
from serving.services import Services

__all__ = ["router"]

router = APIRouter()

_STATES: dict[str, Any] = {
    "description": "What is ready and what is not",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "status": {"enum": ["ready", "degraded", "starting"]},
                    "deployments": {
                        "type": "object",
                        "additionalProperties": {"enum": ["ready", "not ready"]},
                    },
                },
                "required": ["status", "deployments"],
            }
        }
    },
}

_READY_TIMEOUT_SECONDS = 5.0
_log = logging.getLogger("manymodal.gateway")


@router.get("/health")
async def health() -> dict[str, str]:
    """This gateway runs; says nothing of the deployments behind it."""
    return {"status": "ok"}


@router.get("/ready", responses={200: _STATES, 503: _STATES})
async def ready(request: Request) -> Response:
    """200 when the store answers and every deployment accepts requests, else 503 naming those that do not. Still
    200, with the status ``degraded``, when only those are missing that answers can do without.
    """
    gateway = gateway_of(request)
    services = gateway.services
    checks = _checks(services) | {"storage": gateway.store_check.ready()}
    answers = await asyncio.gather(*(_is_ready(name, answer) for name, answer in checks.items()))
    states = dict(zip(checks, answers, strict=True))
    missing = {name for name, up in states.items() if not up}
    enough = missing <= MAY_BE_MISSING
    body = {
        "status": "starting" if not enough else "degraded" if missing else "ready",
        "deployments": {name: "ready" if up else "not ready" for name, up in states.items()},
    }
    headers = {} if enough else {"retry-after": "2"}
    return Response(msgspec.json.encode(body), 200 if enough else 503, headers, "application/json")


def _checks(services: Services) -> dict[str, Awaitable[bool]]:
    pools = services.pools
    if pools is not None:
        return {name: pools.ready(name) for name in pools.names}
    checks: dict[str, Awaitable[bool]] = {
        "perception": services.perception.ready(),
        "search": services.search.ready(),
        "engine": services.engine.ready(),
    }
    if services.bridge is not None:
        checks["bridge"] = services.bridge.ready()
    return checks


async def _is_ready(name: str, answer: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(_READY_TIMEOUT_SECONDS):
            return await answer
    except Exception as error:
        # Whatever keeps a deployment from answering, the answer to "is it ready" is no.
        _log.warning("%s is not ready: %s", name, type(error).__name__)
        return False
