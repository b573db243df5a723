"""The micro-batcher: what callers ask of a model at the same time shares its runs.

A call's items are prepared (tokenised, resized) together by one of a few CPU threads and then line up one by
one, by shape (``batch_queue`` says in which order). The model's own thread takes the next batch the
moment the last one ends, without the event loop in between, so that a busy model never idles; the batch is put
together only then, so it is as full as it can be and nobody who has left is in it. The loop does no more than
hand over calls and answers. (infinity-emb overlaps preparing and running in a similar way, but its threads poll
every few milliseconds; Ray Serve's ``batch`` has no phase before the model.)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from encoders.batching.batch_queue import BatchQueue, Call, Entry
from encoders.batching.encoder import BatchEncoder
from encoders.config import BatchLimits
from encoders.errors import EncoderOverloaded

__all__ = ["BatchFacts", "BatchObserver", "MicroBatcher"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """What happened to one batch.

    ``cost`` is in the encoder's own measure (tokens, pixels). ``wait_seconds`` has one value per item, from
    ``submit`` to the batch's begin, preparing included. ``service_seconds`` is the model's time, for a batch that
    failed with all attempts to isolate the bad item. ``queued`` items waited when the batch ended.
    """

    items: int
    cost: int
    wait_seconds: tuple[float, ...]
    service_seconds: float
    queued: int


class BatchObserver(Protocol):
    """Is told of every batch, in the event loop."""

    def __call__(self, facts: BatchFacts, /) -> None:
        """Look at the facts; what this raises is logged."""


class MicroBatcher(Generic[Item, Result]):
    """Runs a ``BatchEncoder`` for many callers. All calls must come from one event loop.

    Never more than ``limits.max_items`` items or ``limits.max_cost`` (a single dearer item runs alone) share a
    run, and only items of one bucket. When a batch fails it is halved until the bad items are found, so everybody
    else is answered after about ``2 log2(n)`` more runs for one bad item. At most ``limits.max_queued`` items wait.
    """

    def __init__(
        self,
        encoder: BatchEncoder[Item, Any, Result],
        limits: BatchLimits,
        observe: BatchObserver | None = None,
        *,
        prepare_threads: int = 2,
        timeout_seconds: float = 300.0,
    ) -> None:
        """``timeout_seconds`` bounds every ``submit``; it is there for a model that hangs."""
        self._encoder = encoder
        self._observe = observe
        self._timeout_seconds = timeout_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._preparing = ThreadPoolExecutor(prepare_threads, thread_name_prefix="prepare-batch")
        self._running = ThreadPoolExecutor(1, thread_name_prefix="run-batch")
        self._batches_ended = 0
        self._last_sign: float | None = None
        self._queue = BatchQueue(limits, lambda: self._running.submit(self._work))

    @property
    def queued(self) -> int:
        """Items accepted whose batch has not begun."""
        return self._queue.queued

    @property
    def waiting_seconds(self) -> float:
        """For how long the first call whose items have not all begun has waited; 0 while there is none."""
        return self._queue.waiting_seconds

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """One result per item, in their order; an empty list at once for no items.

        Raises ``EncoderOverloaded`` when the queue has no room for all of them, the batcher is closed or the
        model does not answer; what ``prepare`` raised; or the first error the model raised for one of the items,
        the others of this call being dropped then. When cancelled, items that have not begun are dropped.
        """
        if not items:
            return []
        self._loop = loop = asyncio.get_running_loop()
        call = self._queue.enter(tuple(items), loop.create_future())
        alarm = loop.call_later(self._timeout_seconds, self._time_out, call)
        try:
            self._preparing.submit(self._prepare, call)
            return await call.future
        finally:
            alarm.cancel()
            self._queue.leave(call)  # does nothing unless this was cancelled

    @property
    def silent_seconds(self) -> float:
        """For how long the batch under way has given no sign: its begin is one, ``gets_on`` another. 0 while none
        runs.
        """
        last = self._last_sign
        return 0.0 if last is None else time.perf_counter() - last

    def gets_on(self) -> None:
        """The batch under way is not stuck. From the model's thread."""
        self._last_sign = time.perf_counter()

    async def check_alive(
        self, item: Item, timeout_seconds: float, silence_seconds: float | None = None
    ) -> None:
        """Return once the model has answered ``item`` or, being busy, ended a batch of others. Where a batch takes
        longer than anybody would wait here, ``silence_seconds`` is for how long one may go on without a sign.

        Raises ``TimeoutError`` when it does none of this in time, and what the model raises for the item.
        """
        if self._is_busy(silence_seconds):
            return
        try:
            await self._answers(item, timeout_seconds)
        except TimeoutError:
            if not self._is_busy(silence_seconds):  # one that began before the item
                raise

    def _is_busy(self, silence_seconds: float | None) -> bool:
        return silence_seconds is not None and 0 < self.silent_seconds < silence_seconds

    async def _answers(self, item: Item, timeout_seconds: float) -> None:
        ended = self._batches_ended
        asked = asyncio.ensure_future(self.submit((item,)))
        try:
            async with asyncio.timeout(timeout_seconds):
                while not asked.done():
                    others_were_answered = (
                        self._batches_ended != ended
                    )  # looked at before waiting for our own
                    await asyncio.wait({asked}, timeout=_LOOK_SECONDS)
                    if others_were_answered and not asked.done():
                        return
                with contextlib.suppress(EncoderOverloaded):
                    asked.result()
                    return
                # So full that the item was refused. The model's thread counts, so there is no event to wait for.
                while self._batches_ended == ended:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def aclose(self) -> None:
        """Stop. Whoever still waits gets ``EncoderOverloaded``; the running batch ends in its thread."""
        for call in self._queue.close():
            _fail(call, EncoderOverloaded("The model is shutting down; send the request again later."))
        self._preparing.shutdown(wait=False, cancel_futures=True)
        self._running.shutdown(wait=False, cancel_futures=True)

    def _time_out(self, call: Call) -> None:
        if self._queue.leave(call):
            _fail(
                call,
                EncoderOverloaded(
                    f"The model has not answered within {self._timeout_seconds:g} seconds; try again later."
                ),
            )

    # In a preparing thread:

    def _prepare(self, call: Call) -> None:
        items = call.items
        if call.over:  # also says that ``items`` above was still there
            return
        try:
            prepared = self._encoder.prepare(items)
            if len(prepared) != len(items):
                raise RuntimeError(f"The model prepared {len(prepared)} of {len(items)} items.")
            entries = [
                Entry(call, index, one, self._encoder.bucket(one), int(self._encoder.cost(one)))
                for index, one in enumerate(prepared)
            ]
            self._queue.put(call, entries)
        except BaseException as error:  # a panic in a tokeniser's Rust is not an Exception
            call.error = error
            if self._queue.leave(call):
                self._in_loop(self._deliver, [call])

    # In the model's thread:

    def _work(self) -> None:
        """Run batches until nothing waits.

        The next batch is taken before the last one's answers wake the loop, which would hold the interpreter then.
        """
        batch = self._queue.take()
        while batch is not None:
            begun = self._last_sign = time.perf_counter()
            cost = sum(entry.cost for entry in batch)
            waits = tuple(begun - entry.call.submitted_seconds for entry in batch)
            ended = self._answer(batch)
            self._last_sign = None
            took = time.perf_counter() - begun
            self._batches_ended += 1
            facts = BatchFacts(len(batch), cost, waits, took, self._queue.queued)
            batch = self._queue.take(wait=False)
            self._in_loop(self._deliver, ended, facts)
            batch = batch or self._queue.take()

    def _answer(self, batch: list[Entry]) -> list[Call]:
        """Run a batch; when it fails, search for the bad items. Gives the calls that have ended by it."""
        try:
            return self._run(batch)
        except BaseException as error:
            if len(batch) == 1:
                return self._failed(batch[0], error)
        self._search(batch)
        return []

    def _search(self, batch: list[Entry]) -> None:
        """Run the halves of a batch that has failed, and theirs; whoever has an answer gets it at once."""
        half = len(batch) // 2
        first_is_good = self._answer_part(batch[:half])
        self._answer_part(batch[half:], known_bad=first_is_good)

    def _answer_part(self, part: list[Entry], known_bad: bool = False) -> bool:
        """True when all is good. A part that is ``known_bad``, the other half being good, is not run as a whole."""
        wanted = [entry for entry in part if not entry.call.over]
        if not wanted:
            return False
        if not known_bad or len(wanted) == 1 or len(wanted) < len(part):
            try:
                self._in_loop(self._deliver, self._run(wanted))
            except BaseException as error:
                if len(wanted) == 1:
                    self._in_loop(self._deliver, self._failed(wanted[0], error))
                    return False
            else:
                return len(wanted) == len(part)
        self._search(wanted)
        return False

    def _run(self, batch: list[Entry]) -> list[Call]:
        results = self._encoder.run([entry.prepared for entry in batch])
        if len(results) != len(batch):
            raise RuntimeError(f"The model returned {len(results)} results for {len(batch)} items.")
        complete = []
        for entry, result in zip(batch, results, strict=True):
            call = entry.call
            call.results[entry.index] = result
            call.missing -= 1
            if not call.missing and self._queue.leave(call):
                complete.append(call)
        return complete

    def _failed(self, entry: Entry, error: BaseException) -> list[Call]:
        entry.call.error = error
        return [entry.call] if self._queue.leave(entry.call) else []

    # From any thread into the loop:

    def _in_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            assert self._loop is not None  # noqa: S101 - there was a call
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _deliver(self, ended: Sequence[Call], facts: BatchFacts | None = None) -> None:
        for call in ended:
            if call.error is not None:
                _fail(call, call.error)
            elif not call.future.done():
                call.future.set_result(call.results)
        if facts is not None and self._observe is not None:
            try:
                self._observe(facts)
            except Exception:
                _log.exception("The observer of a batch failed.")


def _fail(call: Call, error: BaseException) -> None:
    if call.future.done():
        return
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        # Neither may travel through a future as it is: it would end the loop, or be refused.
        error = RuntimeError(f"The model stopped with {type(error).__name__}.")
    call.future.set_exception(error)
