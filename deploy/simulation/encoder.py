"""An encoder behind its micro-batcher."""

from __future__ import annotations

import heapq
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from deploy.simulation.replica_pool import ReplicaPool
from deploy.simulation.service_times import EncoderTimes

__all__ = ["EncoderReplica", "encode"]


@dataclass(slots=True)
class _Call:
    missing: int
    entered: float
    done: simpy.Event
    begun: bool = False


class EncoderReplica:
    """Runs batches as ``encoders.batching`` does: the next one the moment the last one ends, of what waits.

    A call's items stand in turns of a full batch each, so that a small call passes most of a large one.
    """

    def __init__(
        self, env: simpy.Environment, times: EncoderTimes, waits: list[tuple[float, float]] | None = None
    ) -> None:
        self._env = env
        self._times = times
        self._waits = waits
        self.ongoing = 0
        self.busy_seconds = 0.0
        self.started_seconds = env.now
        self._begun = self._number = 0
        self._waiting: list[tuple[int, int, int, _Call]] = []  # turn, number, items, call
        self._wake = env.event()
        env.process(self._work())

    @property
    def oldest_wait_seconds(self) -> float:
        """How long the first call in the queue has waited."""
        return self._env.now - min((one[3].entered for one in self._waiting), default=self._env.now)

    def submit(self, items: int) -> simpy.Event:
        """An event that happens once all ``items`` are encoded."""
        call = _Call(items, self._env.now, self._env.event())
        self._number += 1
        full = self._times.max_items
        for turn, begin in enumerate(range(0, items, full)):
            place = (self._begun + turn, self._number, min(full, items - begin), call)
            heapq.heappush(self._waiting, place)
        if not self._wake.triggered:
            self._wake.succeed()
        return call.done

    def _work(self) -> Generator[simpy.Event, Any, None]:
        while True:
            if not self._waiting:
                self._wake = self._env.event()
                yield self._wake
            batch = self._take()
            self._begun += 1
            seconds = self._times.batch_seconds(sum(count for count, _ in batch))
            yield self._env.timeout(seconds)
            self.busy_seconds += seconds
            for count, call in batch:
                call.missing -= count
                if not call.missing:
                    call.done.succeed()

    def _take(self) -> list[tuple[int, _Call]]:
        room, batch = self._times.max_items, []
        while room and self._waiting:
            turn, number, count, call = heapq.heappop(self._waiting)
            if count > room:
                heapq.heappush(self._waiting, (turn, number, count - room, call))
            taken = min(count, room)
            room -= taken
            batch.append((taken, call))
            if not call.begun:
                call.begun = True
                if self._waits is not None:
                    self._waits.append((call.entered, self._env.now - call.entered))
        return batch


def encode(
    pool: ReplicaPool[EncoderReplica], times: EncoderTimes, items: int
) -> Generator[simpy.Event, Any, None]:
    """One request to a pool of encoders, to its answer. Raises ``Refused``."""
    replica = yield from pool.enter()
    try:
        if times.prepare_seconds:
            yield pool.env.timeout(times.prepare_seconds * items)
        yield replica.submit(items)
    finally:
        pool.leave(replica)
