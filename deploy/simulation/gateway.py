"""The way of a request: client, gateway, caches, encoders, its turn, the decoder."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import simpy

from deploy.simulation.arrivals import Request
from deploy.simulation.decoder import DecoderReplica
from deploy.simulation.encoder import EncoderReplica, encode
from deploy.simulation.popularity import Popularity
from deploy.simulation.refusal import Refused
from deploy.simulation.replica_pool import ReplicaPool
from deploy.simulation.service_times import EncoderTimes
from deploy.simulation.turns import Turns

__all__ = ["Client", "Gateway", "Platform", "Record"]

Events = Generator[simpy.Event, Any, None]


@dataclass(slots=True)
class Record:
    """What became of one request, as its client saw it. Times are in the simulation's seconds."""

    request: Request
    first_token: float | None = None
    ended: float | None = None
    refusals: int = 0
    status: int | None = None
    """That of the last refusal, for a request that was given up."""


@dataclass(frozen=True, slots=True)
class Client:
    """OpenAI's client: it comes again ``retries`` times, when it was told to, or after a growing pause."""

    retries: int = 2
    longest_pause_seconds: float = 8.0
    first_pause_seconds: float = 0.5

    def pause(self, attempt: int, refused: Refused, dice: random.Random) -> float:
        """Seconds until the next attempt."""
        if 0 < refused.retry_after_seconds <= 60:
            return refused.retry_after_seconds
        grown = min(self.first_pause_seconds * 2.0**attempt, self.longest_pause_seconds)
        return grown * (1 - 0.25 * dice.random())


class Gateway:
    """One process: a request's own work is done one after the other; requests take turns at the decoder, and so do
    media at the encoders.
    """

    def __init__(self, env: simpy.Environment, turns: Turns, looks: Turns, max_requests: int) -> None:
        self.turns = turns
        self.looks = looks
        self.max_requests = max_requests
        self.requests = 0
        self.busy_seconds = 0.0
        self._env = env
        self._free_at = 0.0

    def work(self, seconds: float) -> simpy.Event:
        """So much of the process's time, behind whoever wanted some before."""
        now = self._env.now
        self._free_at = max(now, self._free_at) + seconds
        self.busy_seconds += seconds
        return self._env.timeout(self._free_at - now)


@dataclass(slots=True)
class Platform:
    """All gateways and pools. ``encoders`` by the name of their work."""

    env: simpy.Environment
    gateways: list[Gateway]
    encoders: Mapping[str, tuple[ReplicaPool[EncoderReplica], EncoderTimes]]
    decoder: ReplicaPool[DecoderReplica]
    popularity: Popularity
    request_seconds: float
    media_seconds: float
    dice: random.Random
    look_waits: list[tuple[float, float]]
    looking: dict[tuple[str, int], simpy.Event]
    """What is being encoded right now: whoever asks about the same medium waits for the same answer."""

    def ask(self, record: Record, client: Client) -> Events:
        """One request with its client's retries, to its last token. Never raises."""
        for attempt in range(1 + client.retries):
            try:
                yield from self._attempt(record)
                return
            except Refused as refused:
                record.refusals += 1
                if attempt == client.retries:
                    record.status = refused.status
                else:
                    yield self.env.timeout(client.pause(attempt, refused, self.dice))

    def _attempt(self, record: Record) -> Events:
        gateway = self.gateways[int(self.dice.random() * len(self.gateways))]
        if gateway.requests >= gateway.max_requests:
            raise Refused(503, 2)
        gateway.requests += 1
        try:
            yield gateway.work(self.request_seconds)
            yield from self._perceive(gateway, record.request)
            yield from gateway.turns.take(record.request.tenant)
            try:
                yield from self._answer(record)
            finally:
                gateway.turns.release(record.request.tenant)
        finally:
            gateway.requests -= 1

    def _perceive(self, gateway: Gateway, request: Request) -> Events:
        if self.media_seconds and not all(self.popularity.is_cached(one) for _, _, one in request.work):
            yield self.env.timeout(self.media_seconds)
        looks = []
        for work, items, medium in request.work:
            if self.popularity.is_cached(medium):
                continue
            found = self.looking.get((work, medium))
            if found is None:
                look = self._look(gateway, request.tenant, work, items, medium)
                found = self.looking[work, medium] = self.env.process(look)
            looks.append(found)
        for one in looks:
            refused = yield one
            if refused is not None:
                raise Refused(refused.status, refused.retry_after_seconds)

    def _look(
        self, gateway: Gateway, tenant: int, work: str, items: int, medium: int
    ) -> Generator[simpy.Event, Any, Refused | None]:
        pool, times = self.encoders[work]
        try:
            yield from gateway.looks.take(tenant)
            try:
                yield from encode(pool, times, items)
            finally:
                gateway.looks.release(tenant)
        except Refused as refused:
            return refused
        finally:
            del self.looking[work, medium]
        return None

    def _answer(self, record: Record) -> Events:
        replica = yield from self.decoder.enter()
        try:
            stream = replica.submit(record.request.prompt_tokens, record.request.output_tokens)
            yield stream.first
            record.first_token = self.env.now
            if not stream.last.processed:
                yield stream.last
            record.ended = self.env.now
        finally:
            self.decoder.leave(replica)
