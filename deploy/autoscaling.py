"""Ray Serve's options of a deployment and its autoscaling, made of settings."""

from __future__ import annotations

import warnings
from typing import Any

from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from deploy.pool_settings import AutoscalingSettings, DeploymentSettings
from deploy.queue_time_policy import QueueTimePolicy
from deploy.sticky_router import StickyRouter
from encoders.batching.queue_time import QUEUE_SECONDS

__all__ = ["autoscaling_config", "serve_options"]

_REPORT_SECONDS = 2.0  # Ray's own 10 would let a peak rise for as long before anybody sees it


def autoscaling_config(settings: AutoscalingSettings) -> AutoscalingConfig:
    """The same as Ray Serve takes it. With ``target_queue_seconds`` the deployment's replicas must report
    ``QUEUE_SECONDS``; without, Serve's own policy counts requests.
    """
    policy = AutoscalingPolicy()
    if settings.target_queue_seconds is not None:
        policy = AutoscalingPolicy(
            policy_function=QueueTimePolicy,
            policy_kwargs={"metric": QUEUE_SECONDS, "target_queue_seconds": settings.target_queue_seconds},
        )
    with warnings.catch_warnings():
        # Called deprecated, but in Ray 2.60 nothing reads the variables that are to replace it.
        warnings.filterwarnings("ignore", "The `metrics_interval_s` field", DeprecationWarning)
        return _config(settings, policy)


def _config(settings: AutoscalingSettings, policy: AutoscalingPolicy) -> AutoscalingConfig:
    return AutoscalingConfig(
        metrics_interval_s=_REPORT_SECONDS,
        min_replicas=settings.min_replicas,
        max_replicas=settings.max_replicas,
        initial_replicas=settings.initial_replicas,
        target_ongoing_requests=settings.target_ongoing_requests,
        look_back_period_s=settings.look_back_seconds,
        upscale_delay_s=settings.upscale_delay_seconds,
        downscale_delay_s=settings.downscale_delay_seconds,
        policy=policy,
    )


def serve_options(settings: DeploymentSettings) -> dict[str, Any]:
    """What ``serve.deployment`` takes: how many replicas, on which machines, and how much each takes.

    Further ``ray_actor_options`` (a ``runtime_env``) may be added to those.
    """
    actor: dict[str, Any] = {"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus}
    if settings.resources:
        actor["resources"] = dict(settings.resources)
    options: dict[str, Any] = {
        "max_ongoing_requests": settings.max_ongoing_requests,
        "max_queued_requests": settings.max_queued_requests,
        "ray_actor_options": actor,
        "max_surge_percent": settings.surge_percent,
        "health_check_period_s": settings.health_check_period_seconds,
        "health_check_timeout_s": settings.health_check_timeout_seconds,
    }
    if settings.routing == "sticky":
        options["request_router_config"] = RequestRouterConfig(request_router_class=StickyRouter)
    if settings.max_replicas_per_node is not None:
        options["max_replicas_per_node"] = settings.max_replicas_per_node
    if settings.autoscaling is not None:
        return {**options, "autoscaling_config": autoscaling_config(settings.autoscaling)}
    return {**options, "num_replicas": settings.fewest_replicas}
