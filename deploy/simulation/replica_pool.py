"""Replicas of one deployment, and how requests find one: as Ray Serve's router does it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Generic, Protocol, TypeVar

import simpy

from deploy.simulation.refusal import Refused

__all__ = ["Replica", "ReplicaPool"]


class Replica(Protocol):
    """What a pool must know of one."""

    ongoing: int
    busy_seconds: float
    started_seconds: float

    @property
    def oldest_wait_seconds(self) -> float:
        """How long the first of its queue has waited; 0 without one."""
        ...


Kind = TypeVar("Kind", bound=Replica)


class ReplicaPool(Generic[Kind]):
    """The less busy of two replicas chosen by chance gets a request (M. Mitzenmacher, "The Power of Two Choices").

    No replica has more than ``max_ongoing``; more requests wait here, and more than ``max_queued`` are refused.
    """

    def __init__(
        self,
        env: simpy.Environment,
        name: str,
        begin: Callable[[], Kind],
        replicas: int,
        max_ongoing: int,
        max_queued: int,
        dice: random.Random,
    ) -> None:
        self.env = env
        self.name = name
        self._begin = begin
        self._max_ongoing = max_ongoing
        self._max_queued = max_queued
        self._dice = dice
        self.replicas: list[Kind] = []
        self._leaving: list[Kind] = []
        self._ended_busy = self._ended_alive = 0.0
        self._queue: deque[simpy.Event] = deque()
        self.waits: list[tuple[float, float]] = []
        """When each request began to wait for a model, and how many seconds it did."""
        for _ in range(replicas):
            self.start()

    @property
    def queued(self) -> int:
        """Requests that no replica has yet."""
        return len(self._queue)

    @property
    def ongoing(self) -> int:
        """Requests that wait or run."""
        return len(self._queue) + sum(replica.ongoing for replica in self.replicas)

    @property
    def oldest_wait_seconds(self) -> float:
        """The mean over replicas of how long the first in each one's queue has waited."""
        if not self.replicas:
            return 0.0
        return sum(replica.oldest_wait_seconds for replica in self.replicas) / len(self.replicas)

    def start(self) -> None:
        """One replica more, ready now."""
        self.replicas.append(self._begin())
        while self._queue and self._room() is not None:
            self._queue.popleft().succeed()

    def stop(self) -> None:
        """The least busy replica gets no more requests, and ends with its last."""
        replica = min(self.replicas, key=lambda one: one.ongoing)
        self.replicas.remove(replica)
        self._leaving.append(replica)
        self._end(replica)

    def enter(self) -> Generator[simpy.Event, Any, Kind]:
        """The replica for a request, which must ``leave`` it. Raises ``Refused``."""
        replica = self._choose()
        while replica is None:
            if len(self._queue) >= self._max_queued:
                raise Refused(503, 3)  # back-pressure
            turn = self.env.event()
            self._queue.append(turn)
            yield turn
            replica = self._choose()
        replica.ongoing += 1
        return replica

    def leave(self, replica: Kind) -> None:
        """The request is over."""
        replica.ongoing -= 1
        if replica in self._leaving:
            self._end(replica)
        elif self._queue:
            self._queue.popleft().succeed()

    def usage(self) -> tuple[float, float]:
        """Seconds that replicas were busy, and that they were there, so far."""
        there = [*self.replicas, *self._leaving]
        busy = sum(one.busy_seconds for one in there) + self._ended_busy
        return busy, sum(self.env.now - one.started_seconds for one in there) + self._ended_alive

    def _end(self, replica: Kind) -> None:
        if not replica.ongoing:
            self._leaving.remove(replica)
            self._ended_busy += replica.busy_seconds
            self._ended_alive += self.env.now - replica.started_seconds

    def _choose(self) -> Kind | None:
        replicas = self.replicas
        if not replicas:
            return None
        one = replicas[int(self._dice.random() * len(replicas))]
        other = replicas[int(self._dice.random() * len(replicas))]
        better = one if one.ongoing <= other.ongoing else other
        return better if better.ongoing < self._max_ongoing else self._room()

    def _room(self) -> Kind | None:
        return next((one for one in self.replicas if one.ongoing < self._max_ongoing), None)
