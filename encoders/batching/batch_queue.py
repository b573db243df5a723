"""What waits for a model: calls and their prepared items, by bucket. Thread-safe; nothing here runs a model.

**Order.** A batch is of the bucket whose first item comes first, and takes that bucket's items in order as long
as they fit. An item comes first by its *turn*: how many batches had begun when its call arrived, plus how many
full batches of its own call go before it. So a lone text passes most of a call of thousands, yet whatever waits
is overtaken only for as many batches as its turn was ahead, and a rare bucket is never starved: once an item's
turn has come, nothing that arrives later goes first.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from encoders.config import BatchLimits
from encoders.errors import EncoderOverloaded

__all__ = ["BatchQueue", "Call", "Entry"]


@dataclass(slots=True, eq=False)
class Call:
    """One ``submit``. ``over`` once it is answered, failed, cancelled or timed out: nothing more is done for it."""

    items: Sequence[Any]
    future: asyncio.Future[list[Any]]
    number: int
    turn: int
    submitted_seconds: float
    results: list[Any]
    missing: int
    not_begun: int
    entries: Sequence[Entry] = ()
    error: BaseException | None = None
    over: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """One prepared item of a call. ``waits`` while it lies in a bucket."""

    call: Call
    index: int
    prepared: Any
    bucket: Hashable
    cost: int
    waits: bool = False


@dataclass(slots=True, eq=False)
class _Bucket:
    """``heap`` may hold entries that have left; ``items`` and ``cost`` count those that wait."""

    key: Hashable
    heap: list[tuple[int, int, int, Entry]] = field(default_factory=list)
    items: int = 0
    cost: int = 0

    def add(self, entry: Entry, turn: int) -> None:
        heapq.heappush(self.heap, (turn, entry.call.number, entry.index, entry))
        entry.waits = True
        self.items += 1
        self.cost += entry.cost

    def first(self) -> tuple[int, int, int, Entry]:
        """The order and the entry of the first that waits; there must be one."""
        while not self.heap[0][3].waits:
            heapq.heappop(self.heap)
        return self.heap[0]

    def remove(self, entry: Entry) -> None:
        entry.waits = False
        self.items -= 1
        self.cost -= entry.cost


class BatchQueue:
    """A bounded queue of items. ``start`` is called (with the queue's lock held) when somebody must take.

    From then on one thread must call ``take`` until that gives ``None`` after waiting.
    """

    def __init__(self, limits: BatchLimits, start: Callable[[], object]) -> None:
        self._limits = limits
        self._start = start
        self._changed = threading.Condition()
        self._buckets: dict[Hashable, _Bucket] = {}
        self._open: set[Call] = set()
        self._numbers = count()
        self._batches_begun = 0
        self._queued = 0
        self._taking = False
        self._closed = False

    @property
    def queued(self) -> int:
        """Items accepted whose batch has not begun."""
        return self._queued

    @property
    def waiting_seconds(self) -> float:
        """For how long the call that came first of those whose items wait has waited; 0 while none waits."""
        with self._changed:
            waiting = [call.submitted_seconds for call in self._open if call.not_begun]
        return max(0.0, time.perf_counter() - min(waiting)) if waiting else 0.0

    @property
    def lined_up(self) -> int:
        """Those of them that are prepared."""
        with self._changed:
            return sum(bucket.items for bucket in self._buckets.values())

    def enter(self, items: Sequence[Any], future: asyncio.Future[list[Any]]) -> Call:
        """Accept a call. Raises ``EncoderOverloaded`` when its items do not fit in or the queue is closed."""
        size = len(items)
        with self._changed:
            if self._closed:
                raise _closing()
            if size > self._limits.max_queued:
                raise EncoderOverloaded(
                    f"{size} items are more than the {self._limits.max_queued} that may wait for this model; "
                    f"send them in smaller parts."
                )
            if self._queued + size > self._limits.max_queued:
                raise EncoderOverloaded("Too much work is queued for this model; try again shortly.")
            self._queued += size
            now = time.perf_counter()
            call = Call(
                items, future, next(self._numbers), self._batches_begun, now, [None] * size, size, size
            )
            self._open.add(call)
            return call

    def put(self, call: Call, entries: Sequence[Entry]) -> None:
        """Line up a call's prepared items, unless it is over by now."""
        with self._changed:
            if call.over:
                return
            call.items, call.entries = (), entries
            for entry in entries:
                turn = call.turn + entry.index // self._limits.max_items
                bucket = self._buckets.get(entry.bucket)
                if bucket is None:
                    bucket = self._buckets[entry.bucket] = _Bucket(entry.bucket)
                bucket.add(entry, turn)
            if self._taking:
                self._changed.notify()
            else:
                self._taking = True
                self._start()

    def take(self, wait: bool = True) -> list[Entry] | None:
        """The next batch, of one bucket and within the limits; ``None`` when nothing is left to do.

        While no batch is full and nobody has waited ``max_wait_seconds``, waits for company. With ``wait=False``
        ``None`` says only that nothing is to be run right now.
        """
        with self._changed:
            while self._buckets:
                now = time.perf_counter()
                bucket = self._due(now)
                if bucket is not None:
                    return self._fill(bucket)
                if not wait:
                    return None
                self._changed.wait(max(0.0, self._deadline() - now))
            self._taking = self._taking and not wait
            return None

    def leave(self, call: Call) -> bool:
        """End a call, dropping its items that have not begun. False when it was over already."""
        with self._changed:
            if call.over:
                return False
            self._end(call)
            return True

    def close(self) -> list[Call]:
        """Accept nothing more and end all calls; returns those that were open."""
        with self._changed:
            self._closed = True
            ended = list(self._open)
            for call in ended:
                self._end(call)
            self._changed.notify_all()
            return ended

    def _end(self, call: Call) -> None:
        call.over = True
        self._open.discard(call)
        self._queued -= call.not_begun
        call.not_begun = 0
        for entry in call.entries:
            if entry.waits:
                bucket = self._buckets[entry.bucket]
                bucket.remove(entry)
                self._forget_if_empty(bucket)
                entry.prepared = None  # the heap may keep the entry for a while
        call.items = call.entries = ()

    def _deadline(self) -> float:
        """When the first of a bucket has waited long enough for company."""
        first = min(bucket.first()[3].call.submitted_seconds for bucket in self._buckets.values())
        return first + self._limits.max_wait_seconds

    def _due(self, now: float) -> _Bucket | None:
        """The bucket to take from now: the first one, or before its time the first that is full."""
        limits, buckets = self._limits, list(self._buckets.values())
        if limits.max_wait_seconds > 0 and now < self._deadline():
            buckets = [
                bucket
                for bucket in buckets
                if bucket.items >= limits.max_items or 0 < limits.max_cost <= bucket.cost
            ]
        return min(buckets, key=_Bucket.first, default=None)

    def _fill(self, bucket: _Bucket) -> list[Entry]:
        batch: list[Entry] = []
        cost = 0
        while bucket.items and len(batch) < self._limits.max_items:
            entry = bucket.first()[3]
            if batch and 0 < self._limits.max_cost < cost + entry.cost:
                break  # it is the first of the next batch: nothing smaller passes it
            heapq.heappop(bucket.heap)
            bucket.remove(entry)
            entry.call.not_begun -= 1
            cost += entry.cost
            batch.append(entry)
        self._forget_if_empty(bucket)
        self._queued -= len(batch)
        self._batches_begun += 1
        return batch

    def _forget_if_empty(self, bucket: _Bucket) -> None:
        if not bucket.items:
            del self._buckets[bucket.key]


def _closing() -> EncoderOverloaded:
    return EncoderOverloaded("The model is shutting down; send the request again later.")
