"""The Ray Serve application: plain deployment classes, wrapped and wired as a profile says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deploy.autoscaling import serve_options
from deploy.observability import Observability, export_counts, export_metrics
from deploy.pool_settings import POOLS, DeploymentName
from deploy.ray_environment import engine_environment
from deploy.settings import Settings
from serving import impatient_http
from serving.app import create_app
from serving.config import EngineConfig, GatewayConfig
from serving.deployments.audio import AudioDeployment
from serving.deployments.bridge import BridgeDeployment
from serving.deployments.engine import EngineDeployment
from serving.deployments.ocr import OcrDeployment
from serving.deployments.perception import PerceptionDeployment
from serving.deployments.search import SearchDeployment
from serving.deployments.text import TextDeployment
from serving.deployments.vision import VisionDeployment
from serving.observed import observed
from serving.pool_calls import PoolBook
from serving.ray_adapter import RayBridge, RayChatEngine, RayPerception, RaySearchIndex
from serving.ray_adapter.caller import Caller
from serving.ray_adapter.perception import TOGETHER
from serving.ray_adapter.pools import RayPools, controller_details
from serving.services import Services
from storage.assembly import open_storage
from storage.config import StorageConfig

__all__ = ["APPLICATION_NAME", "DEPLOYMENT_CLASSES", "GatewayDeployment", "build_application"]

APPLICATION_NAME = "manymodal"

_TAKING_VARIANTS = frozenset({"text", TOGETHER})

_STARTS_ON_A_CLUSTER = 5
"""So many replicas may fail to start before Ray Serve gives a deployment up and replaces none of its replicas any
more. On one machine it is the first: a model that does not load will not load the next time either. On several a
machine may be lost meanwhile.
"""


class GatewayDeployment:
    """The HTTP application in a replica. Ray Serve asks for it once the handles are there."""

    def __init__(
        self,
        encoders: Mapping[str, DeploymentHandle],
        search: DeploymentHandle,
        engine: DeploymentHandle,
        bridge: DeploymentHandle | None,
        config: GatewayConfig,
        storage: StorageConfig,
        side_channel: bool,
        may_sleep: frozenset[str],
    ) -> None:
        # Before Ray Serve makes this replica's HTTP server.
        impatient_http.install(config.limits.head_timeout_seconds, config.limits.stall_timeout_seconds)
        limits, book = config.limits, PoolBook(config.breaker)
        seconds = limits.perception_timeout_seconds
        perception = RayPerception(encoders, seconds, book, limits.piece_timeout_seconds, may_sleep=may_sleep)
        index = RaySearchIndex(search, seconds, book.of("search", "Search"))
        decoder = RayChatEngine(engine, seconds, book.of("engine", "The model"), beside=side_channel)
        callers: dict[str, Caller] = {**perception.callers, "search": index, "engine": decoder.caller}
        bridged = None
        if bridge is not None:
            bridged = RayBridge(encoders, bridge, seconds, book)
            callers["bridge"] = bridged
        pools = RayPools(book, callers, partial(controller_details, APPLICATION_NAME), may_sleep)
        self._services = Services(perception, index, decoder, bridged, pools)
        self._config = config
        self._storage = storage

    def __serve_build_asgi_app__(self) -> FastAPI:
        storage = open_storage(self._storage, self._config.cache_secret)
        app = create_app(self._services, storage, self._config)
        export_metrics(app.state.gateway.metrics.registry)
        return app


DEPLOYMENT_CLASSES: Mapping[str, type] = {
    "gateway": GatewayDeployment,
    "perception": PerceptionDeployment,
    "vision": VisionDeployment,
    "ocr": OcrDeployment,
    "audio": AudioDeployment,
    "text": TextDeployment,
    "search": SearchDeployment,
    "engine": EngineDeployment,
    "bridge": BridgeDeployment,
}
"""The plain class behind each deployment."""


def build_application(settings: Settings, classes: Mapping[str, type] | None = None) -> serve.Application:
    """Bind every deployment to its settings and to the deployments it calls.

    ``classes`` take the place of those of ``DEPLOYMENT_CLASSES`` under the same names, and are constructed alike.
    """
    storage = settings.storage_config()
    plain = {**DEPLOYMENT_CLASSES, **(classes or {})}
    observability = Observability(
        settings.log_level,
        settings.tracing,
        settings.metrics.period_seconds if settings.metrics.through_ray else None,
    )

    def deployment(
        name: DeploymentName, environment: Mapping[str, str] | None = None, cls: type | None = None
    ) -> Any:
        own = settings.deployments[name]
        if name in _TAKING_VARIANTS and settings.encoders.text_variants:
            own = own.model_copy(update={"routing": "sticky"})  # to who has the model in memory
        options = serve_options(own)
        if environment:
            options["ray_actor_options"]["runtime_env"] = {"env_vars": dict(environment)}
        wrapped = observed(cls or plain[name], name, partial(observability.begin, name), export_counts)
        return serve.deployment(
            serve.ingress()(wrapped) if name == "gateway" else wrapped,
            name=name,
            **options,
            graceful_shutdown_timeout_s=settings.drain_seconds,
            graceful_shutdown_wait_loop_s=0.2,
            max_constructor_retry_count=1 if settings.ray_address == "local" else _STARTS_ON_A_CLUSTER,
        )

    threads = {"OMP_NUM_THREADS": str(settings.encoders.threads)}
    pools: tuple[DeploymentName, ...] = (TOGETHER,) if TOGETHER in settings.deployments else POOLS
    encoders = {name: deployment(name, threads).bind(settings.encoder_config(), storage) for name in pools}
    search = deployment("search", threads).bind(settings.search_config())
    engine_config, environment = settings.engine_config(), engine_environment(settings)
    if engine_config.native_limits:
        engine = deployment("engine", environment, _looking(plain["engine"])).bind(engine_config, encoders)
    else:
        engine = deployment("engine", environment).bind(engine_config)
    bridge_config, bridge = settings.bridge_config(), None
    if bridge_config is not None:
        bridge = deployment("bridge", threads).bind(bridge_config)
    return deployment("gateway").bind(
        encoders,
        search,
        engine,
        bridge,
        settings.gateway_config(),
        storage,
        settings.chat.side_channel,
        frozenset(name for name, one in settings.deployments.items() if one.fewest_replicas == 0),
    )


def _looking(engine: type) -> type:
    """The class of a decoder that looks itself, with handles of the encoders, which decode for it."""

    def construct(self: Any, config: EngineConfig, encoders: Mapping[str, DeploymentHandle]) -> None:
        # A ``type`` does not say what its classes take.
        engine.__init__(self, config, RayPerception(encoders, config.media_timeout_seconds, shared=True))  # type: ignore[misc]

    return type(f"Looking{engine.__name__}", (engine,), {"__init__": construct, "__doc__": engine.__doc__})
