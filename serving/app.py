"""The gateway's HTTP application. Knows ``serving.services``' protocols only: no Ray, no model framework."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from serving.access.gate import AccessGate
from serving.audit.recorder import AuditMiddleware
from serving.browser_guard import BrowserGuard
from serving.config import GatewayConfig
from serving.degradation import DegradationMiddleware
from serving.error_handlers import ErrorHandlers
from serving.gateway import build_gateway
from serving.lifespan import lifespan_of
from serving.limits.gate import LimitGate
from serving.machine_metrics import MachineMetrics
from serving.metrics import GatewayMetrics
from serving.middleware import BodyLimitMiddleware, RequestMiddleware
from serving.openapi import describe
from serving.pool_metrics import PoolMetrics
from serving.routes import (
    admin,
    audio,
    audio_understanding,
    batches,
    chat,
    collections,
    documents,
    embeddings,
    files,
    health,
    ingest,
    links,
    media,
    media_text,
    metrics,
    models,
    moderations,
    playground,
    responses,
    search,
    speech,
    tenants,
    uploads,
    video,
    warm_up,
)
from serving.services import Services
from serving.slow_clients import SlowClients
from storage.assembly import Storage

__all__ = ["create_app", "describe_routes"]

_ROUTES = (
    chat,
    responses,
    video,
    audio_understanding,
    audio,
    speech,
    embeddings,
    search,
    collections,
    documents,
    ingest,
    batches,
    files,
    uploads,
    media,
    media_text,
    warm_up,
    tenants,
    admin,
    links,
    moderations,
    models,
    health,
    metrics,
)


def create_app(services: Services, storage: Storage, config: GatewayConfig) -> FastAPI:
    """The whole HTTP surface over ``services`` and ``storage``. Call it in the process that serves."""
    counted = GatewayMetrics(slo=config.slo)
    counted.watch(storage.derived, storage.vectors, storage.redis)
    counted.registry.register(MachineMetrics())
    if services.pools is not None:
        counted.registry.register(PoolMetrics(services.pools))
    gateway = build_gateway(services, storage, config, counted)
    app = FastAPI(
        title="Manymodal",
        version="1",
        redirect_slashes=False,
        docs_url=None,  # its page and redoc's run scripts that they load from elsewhere
        redoc_url=None,
        lifespan=lifespan_of(gateway),
    )
    app.state.gateway = gateway
    for routes in _ROUTES:
        app.include_router(routes.router)
    if config.playground:
        app.include_router(playground.router)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's way to replace it
    handlers = ErrorHandlers(counted)
    handlers.install(app)
    # Last added is outermost: the request's id and time are there for everything below.
    app.add_middleware(DegradationMiddleware)
    app.add_middleware(BodyLimitMiddleware, limits=config.limits)
    app.add_middleware(SlowClients, limits=config.limits)
    app.add_middleware(LimitGate, limiter=gateway.limiter, places=config.max_requests, refuse=handlers.typed)
    app.add_middleware(AccessGate, access=gateway.access, refuse=handlers.typed)
    app.add_middleware(
        BrowserGuard,
        allowed_hosts=config.allowed_hosts,
        refuse=handlers.typed,
        keys_needed=config.access.mode == "keys",
    )
    app.add_middleware(RequestMiddleware, metrics=counted)
    app.add_middleware(AuditMiddleware, log=gateway.audit, secret=config.cache_secret)
    gateway.batches.application.attach(app)
    return app


def describe_routes() -> dict[str, Any]:
    """The OpenAPI document of all routes, without a platform behind them: what the API reference is made of."""
    app = FastAPI(title="Manymodal", version="1")
    for routes in _ROUTES:
        app.include_router(routes.router)
    return describe(app)
