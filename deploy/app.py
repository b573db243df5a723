"""The Ray Serve application: plain deployment classes, wrapped and wired as a profile says."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deploy.autoscaling import serve_options
from deploy.observability import Observability, export_counts, export_metrics
from deploy.ray_environment import engine_environment
from deploy.settings import Settings
from serving import impatient_http
from serving.app import create_app
from serving.config import EngineConfig, GatewayConfig
from serving.deployments.bridge import BridgeDeployment
from serving.deployments.engine import EngineDeployment
from serving.deployments.perception import PerceptionDeployment
from serving.deployments.search import SearchDeployment
from serving.observed import observed
from serving.pool_calls import PoolBook
from serving.ray_adapter import RayBridge, RayChatEngine, RayPerception, RaySearchIndex
from serving.ray_adapter.caller import Caller
from serving.ray_adapter.pools import RayPools, controller_details
from serving.services import Services
from storage.assembly import open_storage
from storage.config import StorageConfig

__all__ = ["APPLICATION_NAME", "GatewayDeployment", "build_application"]

APPLICATION_NAME = "manymodal"


class GatewayDeployment:
    """The HTTP application in a replica. Ray Serve asks for it once the handles are there."""

    def __init__(
        self,
        perception: DeploymentHandle,
        search: DeploymentHandle,
        engine: DeploymentHandle,
        bridge: DeploymentHandle | None,
        config: GatewayConfig,
        storage: StorageConfig,
        side_channel: bool,
    ) -> None:
        # Before Ray Serve makes this replica's HTTP server.
        impatient_http.install(config.limits.head_timeout_seconds, config.limits.stall_timeout_seconds)
        limits, book = config.limits, PoolBook(config.breaker)
        seconds = limits.perception_timeout_seconds
        encoders = RayPerception(
            perception,
            seconds,
            book.of("perception", "The media encoders' service"),
            limits.piece_timeout_seconds,
        )
        index = RaySearchIndex(search, seconds, book.of("search", "Search"))
        decoder = RayChatEngine(engine, seconds, book.of("engine", "The model"), beside=side_channel)
        callers: dict[str, Caller] = {"perception": encoders, "search": index, "engine": decoder.caller}
        bridged = None
        if bridge is not None:
            bridged = RayBridge(perception, bridge, seconds, book.of("bridge", "The bridge to the model"))
            callers["bridge"] = bridged
        pools = RayPools(book, callers, partial(controller_details, APPLICATION_NAME))
        self._services = Services(encoders, index, decoder, bridged, pools)
        self._config = config
        self._storage = storage

    def __serve_build_asgi_app__(self) -> FastAPI:
        storage = open_storage(self._storage, self._config.cache_secret)
        app = create_app(self._services, storage, self._config)
        export_metrics(app.state.gateway.metrics.registry)
        return app


class LookingEngineDeployment(EngineDeployment):
    """A decoder that looks itself, with the handle of the encoders, which decode for it."""

    def __init__(self, config: EngineConfig, perception: DeploymentHandle) -> None:
        super().__init__(config, RayPerception(perception, config.media_timeout_seconds, shared=True))


def build_application(settings: Settings) -> serve.Application:
    """Bind every deployment to its settings and to the deployments it calls."""
    storage = settings.storage_config()
    observability = Observability(
        settings.log_level,
        settings.tracing,
        settings.metrics.period_seconds if settings.metrics.through_ray else None,
    )

    def deployment(cls: type, name: str, **environment: str) -> Any:
        options = settings.deployments[name]  # type: ignore[index]
        serve_settings = serve_options(options)
        if environment:
            serve_settings["ray_actor_options"]["runtime_env"] = {"env_vars": environment}
        cls = observed(cls, name, partial(observability.begin, name), export_counts)
        if name == "gateway":
            cls = serve.ingress()(cls)
        return serve.deployment(
            cls,
            name=name,
            **serve_settings,
            graceful_shutdown_timeout_s=settings.drain_seconds,
            graceful_shutdown_wait_loop_s=0.2,
            # A model that does not load will not load the next time either: say so at once.
            max_constructor_retry_count=1,
        )

    threads = str(settings.encoders.threads)
    perception = deployment(PerceptionDeployment, "perception", OMP_NUM_THREADS=threads).bind(
        settings.encoder_config(), storage
    )
    search = deployment(SearchDeployment, "search", OMP_NUM_THREADS=threads).bind(settings.search_config())
    engine_config, environment = settings.engine_config(), engine_environment(settings)
    if engine_config.native_limits:
        engine = deployment(LookingEngineDeployment, "engine", **environment).bind(engine_config, perception)
    else:
        engine = deployment(EngineDeployment, "engine", **environment).bind(engine_config)
    bridge_config, bridge = settings.bridge_config(), None
    if bridge_config is not None:
        bridge = deployment(BridgeDeployment, "bridge", OMP_NUM_THREADS=threads).bind(bridge_config)
    return deployment(GatewayDeployment, "gateway").bind(
        perception,
        search,
        engine,
        bridge,
        settings.gateway_config(),
        storage,
        settings.chat.side_channel,
    )
