"""Ray Serve's autoscaling, made of settings."""

from __future__ import annotations

from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from deploy.pool_settings import AutoscalingSettings
from deploy.queue_time_policy import QueueTimePolicy
from encoders.batching.queue_time import QUEUE_SECONDS

__all__ = ["autoscaling_config"]


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
    return AutoscalingConfig(
        min_replicas=settings.min_replicas,
        max_replicas=settings.max_replicas,
        initial_replicas=settings.initial_replicas,
        target_ongoing_requests=settings.target_ongoing_requests,
        look_back_period_s=settings.look_back_seconds,
        upscale_delay_s=settings.upscale_delay_seconds,
        downscale_delay_s=settings.downscale_delay_seconds,
        policy=policy,
    )
