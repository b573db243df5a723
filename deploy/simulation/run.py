"""One run: a fleet, requests, and what became of them."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import simpy

from deploy.pool_settings import AutoscalingSettings
from deploy.simulation.arrivals import Request
from deploy.simulation.autoscaler import autoscale
from deploy.simulation.decoder import DecoderReplica
from deploy.simulation.encoder import EncoderReplica
from deploy.simulation.gateway import Client, Gateway, Platform, Record
from deploy.simulation.popularity import Popularity
from deploy.simulation.replica_pool import ReplicaPool
from deploy.simulation.service_times import DecoderTimes, EncoderTimes
from deploy.simulation.turns import Turns

__all__ = ["DECODER", "GATEWAY", "Fleet", "PoolUse", "Run", "Shape", "simulate"]

DECODER = "chat"
GATEWAY = "gateway"
_TURNS_WAITING = 4  # times the slots, as serving.engine_turns has it
_LOOK_SECONDS = 300.0  # as serving.perception_tasks has it
_SAMPLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A pool: how many replicas at first, what each takes at once, how many requests may wait for one."""

    replicas: int
    max_ongoing: int = 64
    max_queued: int = 512
    autoscaling: AutoscalingSettings | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """All that is there. ``encoders`` and their times are by name of their work.

    A gateway is busy with each request for ``request_seconds`` before anything else; one with new media
    then takes ``media_seconds`` until these are stored. One gateway has ``looks`` media at the encoders at once,
    and ``looks_waiting`` wait for that. ``turn_seconds`` is how long one may wait for the decoder.
    """

    encoders: Mapping[str, tuple[Shape, EncoderTimes]]
    decoder: Shape
    decoder_times: DecoderTimes
    gateways: int = 1
    max_requests: int = 240
    request_seconds: float = 0.0
    media_seconds: float = 0.0
    looks: int = 16
    looks_waiting: int = 2048
    turn_seconds: float = 120.0
    client: Client = field(default_factory=Client)


@dataclass(frozen=True, slots=True)
class PoolUse:
    """One pool within the time that counts: the share of it that a replica was busy for, how many replicas there
    were and requests each of them had on average, and how long these waited for a model (at gateways: for their
    turn at the encoders).
    """

    busy_share: float
    replicas: float
    ongoing: float
    waits: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Records of requests that came within the time that counts, and the pools' use within it.

    ``replicas`` are (seconds, number by pool), each second.
    """

    begin: float
    end: float
    records: tuple[Record, ...]
    pools: Mapping[str, PoolUse]
    replicas: tuple[tuple[float, Mapping[str, int]], ...]
    preempted: int


def simulate(
    fleet: Fleet,
    requests: Sequence[Request],
    popularity: Popularity,
    begin: float,
    end: float,
    until: float,
    seed: int = 0,
) -> Run:
    """Play ``requests`` (in the order of time) up to ``until``. Those from ``begin`` to ``end`` count.

    The same arguments give the same run.
    """
    env = simpy.Environment()
    dice = random.Random(seed)  # noqa: S311 - a model, not a secret
    platform = _build(env, fleet, popularity, dice)
    pools: dict[str, ReplicaPool[Any]] = {name: pool for name, (pool, _) in platform.encoders.items()}
    pools[DECODER] = platform.decoder
    _autoscale(env, fleet, platform)
    records = [Record(request) for request in requests]
    env.process(_arrive(env, platform, records, fleet.client))
    replicas: list[tuple[float, Mapping[str, int]]] = []
    ongoing: list[tuple[float, Mapping[str, int]]] = []
    env.process(_sample(env, pools, replicas, ongoing))
    before: dict[str, tuple[float, float]] = {}
    after: dict[str, tuple[float, float]] = {}
    env.process(_note_usage(env, begin, platform, pools, before))
    env.process(_note_usage(env, end, platform, pools, after))
    env.run(until=until)
    use = {}
    for name, (busy, alive) in after.items():
        spent, there = busy - before[name][0], alive - before[name][1]
        waits = pools[name].waits if name in pools else platform.look_waits
        use[name] = PoolUse(
            busy_share=spent / there if there else 0.0,
            replicas=there / (end - begin),
            ongoing=_mean(ongoing, name, begin, end) * (end - begin) / there if there else 0.0,
            waits=tuple(wait for at, wait in waits if begin <= at < end),
        )
    counted = tuple(one for one in records if begin <= one.request.at_seconds < end)
    preempted = sum(replica.preempted for replica in platform.decoder.replicas)
    return Run(begin, end, counted, use, tuple(replicas), preempted)


def _build(env: simpy.Environment, fleet: Fleet, popularity: Popularity, dice: random.Random) -> Platform:
    most = fleet.decoder.autoscaling.max_replicas if fleet.decoder.autoscaling else fleet.decoder.replicas
    slots = -(-most * fleet.decoder_times.max_streams // fleet.gateways)  # as deploy.settings shares them out
    look_waits = list[tuple[float, float]]()
    gateways = [
        Gateway(
            env,
            Turns(env, slots, max(64, _TURNS_WAITING * slots), fleet.turn_seconds),
            Turns(env, fleet.looks, fleet.looks_waiting, _LOOK_SECONDS, look_waits),
            fleet.max_requests,
        )
        for _ in range(fleet.gateways)
    ]
    encoders = {
        name: (_encoder_pool(env, name, fleet, dice), times) for name, (_, times) in fleet.encoders.items()
    }
    shape, waits = fleet.decoder, list[tuple[float, float]]()
    decoder = ReplicaPool(
        env,
        DECODER,
        lambda: DecoderReplica(env, fleet.decoder_times, waits),
        shape.replicas,
        shape.max_ongoing,
        shape.max_queued,
        dice,
    )
    decoder.waits = waits
    return Platform(
        env,
        gateways,
        encoders,
        decoder,
        popularity,
        fleet.request_seconds,
        fleet.media_seconds,
        dice,
        look_waits,
        looking={},
    )


def _encoder_pool(
    env: simpy.Environment, name: str, fleet: Fleet, dice: random.Random
) -> ReplicaPool[EncoderReplica]:
    shape, times = fleet.encoders[name]
    waits = list[tuple[float, float]]()
    pool = ReplicaPool(
        env,
        name,
        lambda: EncoderReplica(env, times, waits),
        shape.replicas,
        shape.max_ongoing,
        shape.max_queued,
        dice,
    )
    pool.waits = waits
    return pool


def _autoscale(env: simpy.Environment, fleet: Fleet, platform: Platform) -> None:
    shapes = {name: (shape, times) for name, (shape, times) in fleet.encoders.items()}
    for name, (shape, times) in shapes.items():
        if shape.autoscaling is not None:
            pool, _ = platform.encoders[name]
            env.process(autoscale(pool, shape.autoscaling, times.start_seconds))
    if fleet.decoder.autoscaling is not None:
        seconds = fleet.decoder_times.start_seconds
        env.process(autoscale(platform.decoder, fleet.decoder.autoscaling, seconds))


def _arrive(
    env: simpy.Environment, platform: Platform, records: Sequence[Record], client: Client
) -> Generator[simpy.Event, Any, None]:
    for record in records:
        if record.request.at_seconds > env.now:
            yield env.timeout(record.request.at_seconds - env.now)
        env.process(platform.ask(record, client))


def _sample(
    env: simpy.Environment,
    pools: Mapping[str, ReplicaPool[Any]],
    replicas: list[tuple[float, Mapping[str, int]]],
    ongoing: list[tuple[float, Mapping[str, int]]],
) -> Generator[simpy.Event, Any, None]:
    while True:
        replicas.append((env.now, {name: len(pool.replicas) for name, pool in pools.items()}))
        ongoing.append((env.now, {name: pool.ongoing for name, pool in pools.items()}))
        yield env.timeout(_SAMPLE_SECONDS)


def _mean(samples: Sequence[tuple[float, Mapping[str, int]]], name: str, begin: float, end: float) -> float:
    counted = [counts.get(name, 0) for at, counts in samples if begin <= at < end]
    return sum(counted) / max(1, len(counted))


def _note_usage(
    env: simpy.Environment,
    at: float,
    platform: Platform,
    pools: Mapping[str, ReplicaPool[Any]],
    into: dict[str, tuple[float, float]],
) -> Generator[simpy.Event, Any, None]:
    yield env.timeout(at)
    into.update({name: pool.usage() for name, pool in pools.items()})
    busy = sum(gateway.busy_seconds for gateway in platform.gateways)
    into[GATEWAY] = (busy, env.now * len(platform.gateways))
