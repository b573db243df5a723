"""The gateway's HTTP application. Knows ``serving.services``' protocols only: no Ray, no model framework."""

from __future__ import annotations

from fastapi import FastAPI

from serving.browser_guard import BrowserGuard
from serving.config import GatewayConfig
from serving.error_handlers import ErrorHandlers
from serving.gateway import build_gateway
from serving.metrics import GatewayMetrics
from serving.middleware import BodyLimitMiddleware, RequestMiddleware
from serving.openapi import describe
from serving.routes import audio, chat, embeddings, health, metrics, models, search
from serving.routes import media as media_routes
from serving.services import Services
from storage.derived import DerivedCache
from storage.media import MediaStore

__all__ = ["create_app"]


def create_app(
    services: Services, media: MediaStore, derived: DerivedCache, config: GatewayConfig
) -> FastAPI:
    """The whole HTTP surface over ``services``. Call it in the process that serves."""
    # No /docs and /redoc: their pages run scripts that they load from elsewhere.
    app = FastAPI(title="Manymodal", version="1", redirect_slashes=False, docs_url=None, redoc_url=None)
    counted = GatewayMetrics()
    counted.watch(derived)
    app.state.gateway = build_gateway(services, media, derived, config, counted)
    for routes in (chat, audio, embeddings, search, media_routes, models, health, metrics):
        app.include_router(routes.router)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    handlers = ErrorHandlers(counted)
    handlers.install(app)
    # Last added is outermost: the request's id and time are there for everything below.
    app.add_middleware(BodyLimitMiddleware, limits=config.limits)
    app.add_middleware(BrowserGuard, allowed_hosts=config.allowed_hosts, refuse=handlers.typed)
    app.add_middleware(RequestMiddleware, metrics=counted)
    return app
