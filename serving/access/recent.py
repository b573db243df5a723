"""What was read from the store a moment ago: used again for some seconds, then read anew in a thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import LRUCache

from serving.errors import ServiceUnavailable

__all__ = ["Recent"]

Value = TypeVar("Value")

_log = logging.getLogger("manymodal.gateway")


@dataclass(frozen=True, slots=True)
class _Known(Generic[Value]):
    value: Value
    read_at: float  # when reading began: what changed after that may not be in it


class Recent(Generic[Value]):
    """Values by key. ``read`` blocks and runs in a thread, once at a time for each key.

    A value is used for ``fresh_seconds`` as it is and until ``stale_seconds`` (``None``: for ever) while it is read
    anew. Then, and when nothing is known, callers wait for at most ``wait_seconds``, and never take what a slow
    store was asked for more than ``stale_seconds`` before they came. Bounded to ``max_entries``:
    the ones that were used longest ago go. Use from one event loop.
    """

    def __init__(
        self,
        read: Callable[[str], Value],
        fresh_seconds: float,
        stale_seconds: float | None,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        max_entries: int = 10_000,
    ) -> None:
        self._read = read
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._known: LRUCache[str, _Known[Value]] = LRUCache(max_entries)
        self._reading: dict[str, asyncio.Task[_Known[Value]]] = {}

    async def get(self, key: str) -> Value:
        """The value. Raises what ``read`` raises, and ``ServiceUnavailable`` when it takes too long."""
        now = self._clock()
        known = self._known.get(key)
        if known is not None:
            age = now - known.read_at
            if age <= self._fresh_seconds:
                return known.value
            if self._stale_seconds is None or age <= self._stale_seconds:
                self._read_anew(key)
                return known.value
        try:
            async with asyncio.timeout(self._wait_seconds):
                while True:
                    known = await asyncio.shield(self._read_anew(key))
                    if self._stale_seconds is None or now - known.read_at <= self._stale_seconds:
                        return known.value
        except TimeoutError:
            raise ServiceUnavailable(
                "Who may do what could not be read from the store in time; try again later."
            ) from None

    def _read_anew(self, key: str) -> asyncio.Task[_Known[Value]]:
        reading = self._reading.get(key)
        if reading is None:
            reading = asyncio.create_task(self._reading_of(key), name="access-record")
            self._reading[key] = reading
            reading.add_done_callback(lambda done: self._ended(key, done))
        return reading

    async def _reading_of(self, key: str) -> _Known[Value]:
        began = self._clock()
        known = _Known(await asyncio.to_thread(self._read, key), began)
        self._known[key] = known
        return known

    def _ended(self, key: str, done: asyncio.Task[_Known[Value]]) -> None:
        del self._reading[key]
        if not done.cancelled() and (error := done.exception()) is not None:
            # Whoever waited has been told; nobody may have.
            _log.warning("An access record could not be read: %s", error)
