"""One at a time: a bounded queue before a model that gains nothing from batches (reading, transcribing)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from encoders.batching.micro_batcher import BatchObserver, MicroBatcher
from encoders.config import BatchLimits

__all__ = ["OneAtATime"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class OneAtATime(Generic[Item, Result]):
    """Calls ``run`` for one item after another, first come first served, in a thread of its own.

    It is a ``MicroBatcher`` with batches of one, so overload, cancelling, closing and what ``observe`` is told are
    the same. All calls must come from one event loop.
    """

    def __init__(
        self,
        run: Callable[[Item], Result],
        max_queued: int,
        observe: BatchObserver | None = None,
        *,
        timeout_seconds: float = 3600.0,
    ) -> None:
        """``timeout_seconds`` bounds every ``submit``, waiting for those before it included."""
        self._batcher: MicroBatcher[Item, Result] = MicroBatcher(
            _Single(run),
            BatchLimits(max_items=1, max_queued=max_queued),
            observe,
            prepare_threads=1,  # keeps the order of arrival
            timeout_seconds=timeout_seconds,
        )

    @property
    def queued(self) -> int:
        """Items that wait for their turn."""
        return self._batcher.queued

    @property
    def waiting_seconds(self) -> float:
        """For how long the first that waits for its turn has waited; 0 while nobody does."""
        return self._batcher.waiting_seconds

    async def submit(self, item: Item) -> Result:
        """The result for ``item``, or what ``run`` raised. ``EncoderOverloaded`` when ``max_queued`` items wait."""
        return (await self._batcher.submit((item,)))[0]

    def gets_on(self) -> None:
        """See ``MicroBatcher.gets_on``."""
        self._batcher.gets_on()

    async def check_alive(
        self, item: Item, timeout_seconds: float, silence_seconds: float | None = None
    ) -> None:
        """See ``MicroBatcher.check_alive``."""
        await self._batcher.check_alive(item, timeout_seconds, silence_seconds)

    async def aclose(self) -> None:
        """Stop. Whoever still waits gets ``EncoderOverloaded``; the running item ends in its thread."""
        await self._batcher.aclose()


class _Single(Generic[Item, Result]):
    """A function as a ``BatchEncoder`` with nothing to prepare."""

    def __init__(self, run: Callable[[Item], Result]) -> None:
        self._run = run

    def prepare(self, items: Sequence[Item]) -> list[Item]:
        return list(items)

    def bucket(self, prepared: Item) -> None:
        return None

    def cost(self, prepared: Item) -> int:
        return 1

    def run(self, batch: Sequence[Item]) -> list[Result]:
        return [self._run(item) for item in batch]
