"""Settings of Ray Serve's deployments: how many replicas, where, how much each takes, how the API is reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "POOLS",
    "AutoscalingSettings",
    "DeploymentName",
    "DeploymentSettings",
    "Ingress",
    "RayAddress",
    "check_deployments",
]

DeploymentName = Literal[
    "gateway", "perception", "vision", "ocr", "audio", "text", "search", "engine", "bridge"
]

POOLS: tuple[DeploymentName, ...] = ("vision", "ocr", "audio", "text")
"""The encoders' deployments where each kind has its own. Where all share replicas, it is ``perception``."""

Ingress = Literal["direct", "haproxy", "proxy"]
"""How requests reach the gateways. ``direct``: the gateway listens itself, one on each machine; ``haproxy``: Ray
Serve's HAProxy in front of many; ``proxy``: Ray Serve's own proxy, in Python, in front of many.
"""


_RAYS_OWN = frozenset({"cpu", "gpu", "memory", "object_store_memory"})


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AutoscalingSettings(_Section):
    """How many replicas a deployment has, by its load.

    There are enough that each has ``target_ongoing_requests`` (waiting and running), and, for encoders, enough that
    nobody waits in a replica's queue for longer than ``target_queue_seconds``, both on average over the last
    ``look_back_seconds``. More are started when that has been so for ``upscale_delay_seconds``, fewer run when it
    has not been for ``downscale_delay_seconds``. With ``min_replicas`` 0 a deployment that nobody asks takes
    nothing; whoever asks first waits until its models are loaded.
    """

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(gt=0)
    initial_replicas: int | None = Field(default=None, ge=0)
    target_ongoing_requests: float = Field(gt=0)
    target_queue_seconds: float | None = Field(default=None, gt=0)
    look_back_seconds: float = Field(default=10, gt=2, le=3600)  # replicas tell their load every two seconds
    upscale_delay_seconds: float = Field(default=5, ge=0)
    downscale_delay_seconds: float = Field(default=300, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> AutoscalingSettings:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas must not be more than max_replicas")
        if self.initial_replicas is not None and not (
            self.min_replicas <= self.initial_replicas <= self.max_replicas
        ):
            raise ValueError("initial_replicas must lie between min_replicas and max_replicas")
        return self


class DeploymentSettings(_Section):
    """Ray Serve options of one deployment.

    Either ``num_replicas`` (1 where neither is set) or ``autoscaling`` says how many replicas there are.
    ``max_ongoing_requests`` run at once in each; ``max_queued_requests`` wait at each caller, and more are refused.
    ``num_cpus``, ``num_gpus`` (fractions share one) and ``resources`` (the cluster's own, such as
    ``{vision_pool: 0.01}``) are reserved for each, and so say on which machines they run;
    ``max_replicas_per_node`` spreads them. An update starts ``surge_percent`` more (at least one; 0: none) before
    old ones end, for which there must be room. With ``routing`` sticky (the decoder), prompts that begin alike go
    to the same replica, which has kept what it computed of them, unless it is busier than others. A replica that
    does not answer a health check, made every ``health_check_period_seconds``, within
    ``health_check_timeout_seconds`` three times is replaced.
    """

    num_replicas: int | None = Field(default=None, gt=0)
    autoscaling: AutoscalingSettings | None = None
    max_ongoing_requests: int = Field(gt=0)
    max_queued_requests: int = Field(gt=0)
    num_cpus: float = Field(default=0, ge=0)
    num_gpus: float = Field(default=0, ge=0)
    resources: dict[str, float] = Field(default_factory=dict)
    routing: Literal["least_busy", "sticky"] = "least_busy"
    max_replicas_per_node: int | None = Field(default=None, gt=0, le=100)
    surge_percent: int = Field(default=0, ge=0, le=100)
    health_check_period_seconds: float = Field(default=5, gt=0)
    health_check_timeout_seconds: float = Field(default=30, gt=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> DeploymentSettings:
        if self.num_replicas is not None and self.autoscaling is not None:
            raise ValueError(
                "num_replicas and autoscaling exclude each other: set one of them, and the other to null"
            )
        for name, amount in self.resources.items():
            if name.lower() in _RAYS_OWN:
                raise ValueError(f"resources.{name} is Ray's own: set num_cpus or num_gpus")
            if amount <= 0:
                raise ValueError(f"resources.{name} must be more than 0")
        # Ray places a replica on one GPU or on whole ones, never on one and a half.
        if self.num_gpus > 1 and self.num_gpus % 1:
            raise ValueError("num_gpus above 1 must be a whole number")
        return self

    @property
    def fewest_replicas(self) -> int:
        """How many replicas there always are; 0 where the deployment may sleep."""
        if self.autoscaling is not None:
            return self.autoscaling.min_replicas
        return self.num_replicas or 1

    @property
    def most_replicas(self) -> int:
        """How many replicas there may be."""
        if self.autoscaling is not None:
            return self.autoscaling.max_replicas
        return self.num_replicas or 1


def _address(value: str) -> str:
    if value in {"local", "auto"} or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*:[0-9]{1,5}", value):
        return value
    raise ValueError("must be 'local' (start Ray here), 'auto' (join the one on this machine) or HOST:PORT")


RayAddress = Annotated[str, AfterValidator(_address)]
"""``local``: start Ray here; ``auto``: join the cluster this machine is part of; ``host:port``: join that one."""


def check_deployments(deployments: Mapping[DeploymentName, DeploymentSettings]) -> None:
    """Raise ``ValueError`` unless every deployment the platform needs is named, and the encoders' ones once."""
    missing = [name for name in ("gateway", "search", "engine") if name not in deployments]
    if missing:
        raise ValueError(f"deployments lacks {', '.join(missing)}")
    pools = [name for name in POOLS if name in deployments]
    if "perception" in deployments:
        if pools:
            raise ValueError(
                f"deployments names perception, which holds all encoders, and {', '.join(pools)}: "
                f"name either perception or all of {', '.join(POOLS)}"
            )
    elif len(pools) < len(POOLS):
        raise ValueError(
            f"deployments lacks {', '.join(name for name in POOLS if name not in pools)}: "
            f"name either perception or all of {', '.join(POOLS)}"
        )
    if deployments["gateway"].fewest_replicas == 0:
        raise ValueError(
            "deployments.gateway.autoscaling.min_replicas must be at least 1: nobody else listens"
        )
