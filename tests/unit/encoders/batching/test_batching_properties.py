"""Whatever is asked, fails or is cancelled, and whenever: every item is answered once, within the limits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.batching.micro_batcher import BatchFacts, MicroBatcher
from encoders.config import BatchLimits
from encoders.errors import EncoderOverloaded


@dataclass(frozen=True)
class Thing:
    """An item: who it is, its bucket, its cost, and whether the model chokes on it."""

    name: int
    bucket: int
    cost: int
    bad: bool = False


class FakeEncoder:
    """Answers with the item's name; notes every run and whether two ever overlap."""

    def __init__(self, pauses: np.random.Generator | None = None) -> None:
        self.runs: list[list[Thing]] = []
        self._busy = threading.Lock()
        self._pauses = pauses

    def prepare(self, items: Sequence[Thing]) -> list[Thing]:
        self._pause()
        return list(items)

    def bucket(self, prepared: Thing) -> Hashable:
        return prepared.bucket or None  # None is a bucket like any other

    def cost(self, prepared: Thing) -> int:
        return prepared.cost

    def run(self, batch: Sequence[Thing]) -> list[int]:
        assert self._busy.acquire(blocking=False), "two runs at once"
        try:
            self.runs.append(list(batch))
            self._pause()
            if any(one.bad for one in batch):
                raise ValueError([one.name for one in batch if one.bad])
            return [one.name for one in batch]
        finally:
            self._busy.release()

    def _pause(self) -> None:
        if self._pauses is not None and self._pauses.random() < 0.5:
            time.sleep(self._pauses.random() * 0.002)


things = st.builds(
    Thing, st.just(0), st.integers(0, 2), st.integers(0, 12), st.sampled_from([False, False, False, True])
)
calls = st.lists(
    st.tuples(
        st.lists(things, min_size=1, max_size=6),
        st.sampled_from([0.0, 0.0, 0.001, 0.003]),  # when it is submitted
        st.sampled_from([None, None, 0.0, 0.001, 0.002]),  # when it is cancelled, counted from there
    ),
    max_size=12,
)
limit_sets = st.builds(
    BatchLimits,
    max_items=st.integers(1, 5),
    max_cost=st.sampled_from([0, 1, 10, 20]),
    max_wait_seconds=st.sampled_from([0.0, 0.0, 0.002]),
    max_queued=st.sampled_from([4, 1000]),
)


@settings(max_examples=120, deadline=None)
@given(calls=calls, limits=limit_sets, seed=st.integers(0, 1000))
def test_any_pattern(
    calls: list[tuple[list[Thing], float, float | None]], limits: BatchLimits, seed: int
) -> None:
    encoder = FakeEncoder(np.random.default_rng(seed))
    facts: list[BatchFacts] = []
    names = iter(range(10_000))
    wanted = [[Thing(next(names), one.bucket, one.cost, one.bad) for one in call[0]] for call in calls]

    async def run() -> list[object]:
        batcher: MicroBatcher[Thing, int] = MicroBatcher(encoder, limits, facts.append, timeout_seconds=30)

        async def ask(items: list[Thing], delay: float, cancel_after: float | None) -> list[int]:
            await asyncio.sleep(delay)
            task = asyncio.ensure_future(batcher.submit(items))
            if cancel_after is not None:
                asyncio.get_running_loop().call_later(cancel_after, task.cancel)
            assert batcher.queued <= limits.max_queued
            return await task

        answers = await asyncio.gather(
            *[ask(items, *call[1:]) for items, call in zip(wanted, calls, strict=True)],
            return_exceptions=True,
        )
        assert batcher.queued == 0
        await batcher.aclose()
        return answers

    answers = asyncio.run(run())

    for items, call, answer in zip(wanted, calls, answers, strict=True):
        bad = [one.name for one in items if one.bad]
        if isinstance(answer, asyncio.CancelledError):
            assert call[2] is not None
        elif isinstance(answer, EncoderOverloaded):
            assert limits.max_queued == 4
        elif bad:
            assert isinstance(answer, ValueError)
            assert answer.args[0][0] in bad  # its own error, and that of one item alone
            assert len(answer.args[0]) == 1
        else:
            assert answer == [one.name for one in items]
    done: dict[int, int] = {}
    for batch in encoder.runs:
        assert len({one.bucket for one in batch}) == 1
        assert len(batch) <= limits.max_items
        assert not limits.max_cost or len(batch) == 1 or sum(one.cost for one in batch) <= limits.max_cost
        if not any(one.bad for one in batch):
            for one in batch:
                done[one.name] = done.get(one.name, 0) + 1
    assert all(times == 1 for times in done.values())
    assert all(1 <= one.items == len(one.wait_seconds) <= limits.max_items for one in facts)


@settings(max_examples=200, deadline=None)
@given(bad=st.lists(st.booleans(), min_size=1, max_size=64))
def test_bad_items_are_found_in_few_runs(bad: list[bool]) -> None:
    """All calls in one batch: with k bad of n, at most k (2 log2 n + 1) + 1 runs, and never over 2 n."""
    encoder = FakeEncoder()

    async def run() -> list[object]:
        limits = BatchLimits(max_items=len(bad), max_wait_seconds=20)
        batcher: MicroBatcher[Thing, int] = MicroBatcher(encoder, limits)
        answers = await asyncio.gather(
            *[batcher.submit([Thing(index, 1, 1, one)]) for index, one in enumerate(bad)],
            return_exceptions=True,
        )
        await batcher.aclose()
        return answers

    answers = asyncio.run(run())
    for index, answer in enumerate(answers):
        if bad[index]:
            assert isinstance(answer, ValueError)
            assert answer.args == ([index],)
        else:
            assert answer == [index]
    halvings = (len(bad) - 1).bit_length()
    assert len(encoder.runs) <= min(sum(bad) * (2 * halvings + 1) + 1, 2 * len(bad))
    if sum(bad) <= 1:
        assert len(encoder.runs) <= 2 * halvings + 1


async def test_stress() -> None:
    """A slow model under many callers who come, fail and leave: nothing is lost, and the queue ends empty."""
    dice = np.random.default_rng(2026)
    encoder = FakeEncoder(np.random.default_rng(1))
    batcher: MicroBatcher[Thing, int] = MicroBatcher(
        encoder, BatchLimits(max_items=16, max_cost=100, max_queued=120)
    )
    answered = refused = left = failed = 0

    async def caller(number: int) -> None:
        nonlocal answered, refused, left, failed
        for turn in range(15):
            items = [
                Thing(
                    number * 1000 + turn * 10 + index,
                    int(dice.integers(4)),
                    int(dice.integers(20)),
                    dice.random() < 0.01,
                )
                for index in range(int(dice.choice([1, 1, 1, 5])))
            ]
            try:
                async with asyncio.timeout(float(dice.choice([30, 30, 30, 0.002]))):
                    assert await batcher.submit(items) == [one.name for one in items]
                answered += 1
            except EncoderOverloaded:
                refused += 1
                await asyncio.sleep(0.005)
            except TimeoutError:
                left += 1
            except ValueError as error:
                names = error.args[0]
                failed += names[0] in [one.name for one in items if one.bad]

    await asyncio.gather(*[caller(number) for number in range(80)])
    assert answered + refused + left + failed == 80 * 15
    assert min(answered, left, failed) > 0
    assert batcher.queued == 0
    await batcher.aclose()
