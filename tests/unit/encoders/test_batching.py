"""The micro-batcher gathers, keeps order, isolates failures, and is bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.batching import MicroBatcher
from encoders.errors import EncoderOverloaded


class FakeModel:
    """Doubles numbers, remembers its batches, fails for negative ones, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, items: list[int]) -> list[int]:
        assert self.go.wait(10)
        self.batches.append(list(items))
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [2 * item for item in items]


Make = Callable[..., tuple[FakeModel, MicroBatcher[int, int]]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[tuple[FakeModel, MicroBatcher[int, int]]] = []

    def build(
        size: int = 4, wait_seconds: float = 0.02, queued: int = 100
    ) -> tuple[FakeModel, MicroBatcher[int, int]]:
        model = FakeModel()
        made.append(
            (
                model,
                MicroBatcher(model, max_batch_size=size, max_wait_seconds=wait_seconds, max_queued=queued),
            )
        )
        return made[-1]

    yield build
    for model, batcher in made:
        model.go.set()
        await batcher.aclose()


async def test_what_arrives_together_runs_together(make: Make) -> None:
    model, batcher = make(size=4)
    assert await asyncio.gather(*map(batcher.submit, range(4))) == [0, 2, 4, 6]
    assert model.batches == [[0, 1, 2, 3]]


async def test_a_full_batch_does_not_wait(make: Make) -> None:
    _, batcher = make(size=2, wait_seconds=3600)
    async with asyncio.timeout(5):
        assert await asyncio.gather(batcher.submit(1), batcher.submit(2)) == [2, 4]


async def test_a_lone_item_waits_no_longer_than_told(make: Make) -> None:
    model, batcher = make(size=100, wait_seconds=0.01)
    async with asyncio.timeout(5):
        assert await batcher.submit(1) == 2
    assert model.batches == [[1]]


async def test_the_next_batch_gathers_while_one_runs(make: Make) -> None:
    model, batcher = make(size=8, wait_seconds=0)
    model.go.clear()
    first = asyncio.create_task(batcher.submit(0))
    await asyncio.sleep(0.01)
    rest = [asyncio.create_task(batcher.submit(item)) for item in range(1, 6)]
    await asyncio.sleep(0.01)
    model.go.set()
    assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10]
    assert model.batches == [[0], [1, 2, 3, 4, 5]]


async def test_a_bad_item_harms_nobody(make: Make) -> None:
    model, batcher = make(size=4)
    results = await asyncio.gather(*map(batcher.submit, (1, -1, 3, 4)), return_exceptions=True)
    assert isinstance(results[1], ValueError)
    assert [results[0], *results[2:]] == [2, 6, 8]
    assert model.batches == [[1, -1, 3, 4], [1], [-1], [3], [4]]


async def test_a_full_queue_refuses(make: Make) -> None:
    model, batcher = make(size=1, wait_seconds=0, queued=2)
    model.go.clear()
    running = asyncio.create_task(batcher.submit(0))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(batcher.submit(item)) for item in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(EncoderOverloaded, match="try again"):
        await batcher.submit(3)
    model.go.set()
    assert await asyncio.gather(running, *waiting) == [0, 2, 4]
    assert await batcher.submit(5) == 10


async def test_cancelled_requests_are_dropped_and_free_their_place(make: Make) -> None:
    model, batcher = make(size=1, wait_seconds=0, queued=1)
    model.go.clear()
    running = asyncio.create_task(batcher.submit(0))
    await asyncio.sleep(0.01)
    dropped = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0)
    dropped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dropped
    kept = asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0)
    running.cancel()  # in the thread already: its result is thrown away
    model.go.set()
    assert await kept == 4
    assert model.batches == [[0], [2]]


async def test_closing_fails_who_waits(make: Make) -> None:
    model, batcher = make(size=1, wait_seconds=0)
    model.go.clear()
    tasks = [asyncio.create_task(batcher.submit(item)) for item in range(3)]
    await asyncio.sleep(0.01)
    await batcher.aclose()
    model.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, EncoderOverloaded) for result in results)


async def test_a_model_that_returns_too_few(make: Make) -> None:
    batcher: MicroBatcher[int, int] = MicroBatcher(
        lambda items: [], max_batch_size=2, max_wait_seconds=0, max_queued=2
    )
    with pytest.raises(RuntimeError, match="0 results for 1 items"):
        await batcher.submit(1)
    await batcher.aclose()


def test_nonsense_sizes_are_refused() -> None:
    for size, queued in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            MicroBatcher(list, max_batch_size=size, max_wait_seconds=0, max_queued=queued)


@settings(max_examples=50, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(-3, 20), st.sampled_from([0.0, 0.0, 0.002])), max_size=30),
    size=st.integers(1, 5),
)
def test_every_request_gets_its_own_answer(items: list[tuple[int, float]], size: int) -> None:
    async def run() -> None:
        model = FakeModel()
        batcher: MicroBatcher[int, int] = MicroBatcher(
            model, max_batch_size=size, max_wait_seconds=0.001, max_queued=100
        )

        async def one(item: int, delay: float) -> int:
            await asyncio.sleep(delay)
            return await batcher.submit(item)

        results = await asyncio.gather(*[one(*item) for item in items], return_exceptions=True)
        for (item, _), result in zip(items, results, strict=True):
            assert isinstance(result, ValueError) if item < 0 else result == 2 * item
        assert all(len(batch) <= size for batch in model.batches)
        await batcher.aclose()

    asyncio.run(run())
