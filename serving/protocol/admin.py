"""Wire schema of ``/v1/admin``, ours: how the deployments are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel

from serving.breaker import BreakerState
from serving.fair_queue import FairQueue
from serving.pool_calls import CallStatistics
from serving.services import PoolHealth, PoolStatus

__all__ = ["Calls", "Latency", "Pool", "PoolList", "Queue", "pool_list"]


class Latency(BaseModel):
    """Of the latest answers, to the first piece of those that stream."""

    p50: float
    p95: float
    p99: float


class Calls(BaseModel):
    """The calls of a deployment from the gateway that answers. Counts are since its start.

    ``ongoing`` includes those that wait for a replica. ``failed`` got no answer, ``refused`` met a full queue,
    ``refused_open`` the open breaker, ``broken_off`` ended within a stream, ``left`` by their callers;
    ``retried`` are second tries.
    """

    ongoing: int
    answered: int
    failed: int
    refused: int
    refused_open: int
    broken_off: int
    left: int
    retried: int
    breaker: BreakerState
    latency_seconds: Latency | None


class Pool(BaseModel):
    """A deployment, all its replicas on all machines."""

    name: str
    health: PoolHealth
    replicas: dict[str, int]
    target_replicas: int | None
    calls: Calls | None


class Queue(BaseModel):
    """A queue of the gateway that answers, before a deployment."""

    waiting: int
    held: int
    slots: int


class PoolList(BaseModel):
    """The deployments, and what this gateway has before them."""

    object: Literal["list"] = "list"
    data: list[Pool]
    queues: dict[str, Queue]


def pool_list(pools: Iterable[PoolStatus], queues: Mapping[str, FairQueue]) -> PoolList:
    """All of it on the wire."""
    return PoolList(
        data=[
            Pool(
                name=pool.name,
                health=pool.health,
                replicas=dict(pool.replicas),
                target_replicas=pool.target_replicas,
                calls=None if pool.calls is None else _calls(pool.calls),
            )
            for pool in pools
        ],
        queues={
            name: Queue(waiting=queue.waiting, held=queue.held, slots=queue.slots)
            for name, queue in queues.items()
        },
    )


def _calls(calls: CallStatistics) -> Calls:
    latency, outcomes = calls.latency_seconds, calls.outcomes
    return Calls(
        ongoing=calls.ongoing,
        answered=outcomes["answered"],
        failed=outcomes["failed"],
        refused=outcomes["refused"],
        refused_open=outcomes["refused_open"],
        broken_off=outcomes["broken_off"],
        left=outcomes["left"],
        retried=calls.retried,
        breaker=calls.breaker,
        latency_seconds=Latency(p50=latency[50], p95=latency[95], p99=latency[99]) if latency else None,
    )
