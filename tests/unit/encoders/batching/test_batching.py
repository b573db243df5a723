"""The micro-batcher gathers, overlaps, keeps order and is bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from fake_batch_encoder import FakeEncoder, Held, Make, batchers

from encoders.batching.micro_batcher import BatchFacts, MicroBatcher
from encoders.batching.turns import OneAtATime
from encoders.config import BatchLimits
from encoders.errors import EncoderOverloaded

Eventually = Callable[[Callable[[], bool]], object]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with batchers() as build:
        yield build


@pytest.fixture
def held(make: Make, eventually: Eventually) -> Callable[..., Held]:
    """A batcher whose model is busy with ``[0]``."""
    return lambda **options: Held(*make(**options), eventually)


async def test_a_call_keeps_its_order_over_buckets_and_batches(make: Make) -> None:
    encoder, batcher = make(max_items=2)
    items = [5, 11, 3, 25, 12, 4, 13]
    assert await batcher.submit(items) == [2 * item for item in items]
    assert encoder.preparing == [items]
    assert encoder.begun == [[5, 3], [11, 12], [25], [4], [13]]
    assert len(encoder.threads) == 1
    assert await batcher.submit([]) == []


async def test_calls_share_a_batch(held: Callable[..., Held]) -> None:
    async with held(max_items=8) as model:
        tasks = await model.waiting([1], [2, 3], [4])
        model.encoder.go.set()
        assert await asyncio.gather(*tasks) == [[2], [4, 6], [8]]
    assert model.encoder.begun == [[0], [1, 2, 3, 4]]


async def test_preparing_goes_on_while_the_model_runs(make: Make, eventually: Eventually) -> None:
    encoder, batcher = make(max_items=4)
    encoder.go.clear()
    first = asyncio.create_task(batcher.submit([1]))
    await eventually(lambda: encoder.begun == [[1]])  # the model runs and will until ``go``
    second = asyncio.create_task(batcher.submit([2]))
    await eventually(lambda: encoder.preparing == [[1], [2]])
    assert encoder.begun == [[1]]
    encoder.go.set()
    assert await asyncio.gather(first, second) == [[2], [4]]


async def test_the_model_goes_on_while_the_loop_is_busy(held: Callable[..., Held]) -> None:
    async with held(max_items=1) as model:
        tasks = await model.waiting([1], [2], [3])
        model.encoder.go.set()
        waiting_since = threading.Event()
        for _ in range(1000):  # the loop is blocked: nobody awaits here
            if model.encoder.begun == [[0], [1], [2], [3]]:
                break
            waiting_since.wait(0.01)
        assert model.encoder.begun == [[0], [1], [2], [3]]
        assert await asyncio.gather(*tasks) == [[2], [4], [6]]


async def test_a_lone_item_waits_for_company_no_longer_than_told(make: Make) -> None:
    encoder, batcher = make(max_items=100, max_wait_seconds=0.01)
    async with asyncio.timeout(5):
        assert await batcher.submit([1]) == [2]
    assert encoder.begun == [[1]]


@pytest.mark.parametrize("limits", [{"max_items": 2}, {"max_items": 9, "max_cost": 3}], ids=str)
async def test_a_full_batch_does_not_wait(make: Make, limits: dict[str, int]) -> None:
    encoder, batcher = make(max_wait_seconds=50, **limits)
    async with asyncio.timeout(10):
        assert await asyncio.gather(batcher.submit([1]), batcher.submit([2])) == [[2], [4]]
    assert sorted(encoder.begun[0]) == [1, 2]


async def test_a_full_bucket_passes_one_that_waits_for_company(make: Make) -> None:
    encoder, batcher = make(max_wait_seconds=50, max_items=2)
    lone = asyncio.create_task(batcher.submit([15]))
    async with asyncio.timeout(10):
        assert await batcher.submit([1, 2]) == [2, 4]
    lone.cancel()
    assert encoder.begun == [[1, 2]]


async def test_cost_is_bounded_but_for_one_dear_item(held: Callable[..., Held]) -> None:
    async with held(max_items=8, max_cost=10) as model:
        tasks = await model.waiting([4], [5], [6], [1], [25], [21])
        model.encoder.go.set()
        await asyncio.gather(*tasks)
    assert model.encoder.begun == [[0], [4, 5], [6, 1], [25], [21]]


async def test_the_first_item_decides_the_bucket(held: Callable[..., Held]) -> None:
    async with held(max_items=2) as model:
        tasks = await model.waiting([1], [77], [2], [3], [4], [5])
        model.encoder.go.set()
        await asyncio.gather(*tasks)
    assert model.encoder.begun == [[0], [1, 2], [77], [3, 4], [5]]


async def test_a_small_call_passes_most_of_a_large_one(held: Callable[..., Held]) -> None:
    async with held(max_items=2) as model:
        tasks = await model.waiting([1, 2, 3, 4, 5, 6, 7, 8], [9])
        model.encoder.go.set()
        await asyncio.gather(*tasks)
    assert model.encoder.begun == [[0], [1, 2], [9, 3], [4, 5], [6, 7], [8]]


async def test_a_large_call_is_not_starved_by_small_ones(
    held: Callable[..., Held], eventually: Eventually
) -> None:
    async with held(max_items=1) as model:
        (large,) = await model.waiting([1, 2, 3])
        encoder = model.encoder
        encoder.steps = threading.Semaphore(1)  # lets [0] end
        encoder.go.set()
        small = []
        for step in range(2, 12):  # before every batch another small call has come
            await eventually(lambda step=step: len(encoder.begun) == step)
            small.append(asyncio.create_task(model.batcher.submit([9])))
            await eventually(lambda step=step: len(encoder.preparing) == step + 1)
            await eventually(lambda: model.batcher._queue.lined_up == model.batcher.queued)
            encoder.steps.release()
        encoder.steps.release(20)
        await asyncio.gather(large, *small)
    begun = [batch[0] for batch in encoder.begun]
    assert begun.index(3) <= 6


async def test_a_full_queue_refuses(held: Callable[..., Held]) -> None:
    async with held(max_items=2, max_queued=3) as model:
        with pytest.raises(EncoderOverloaded, match="4 items are more than the 3"):
            await model.batcher.submit([1, 2, 3, 4])
        (first,) = await model.waiting([1, 2])
        assert model.batcher.queued == 2
        with pytest.raises(EncoderOverloaded, match="try again shortly"):
            await model.batcher.submit([3, 4])
        (second,) = await model.waiting([5])
        model.encoder.go.set()
        assert await asyncio.gather(first, second) == [[2, 4], [10]]
        assert await model.batcher.submit([6, 7, 8]) == [12, 14, 16]


async def test_closing_fails_who_waits(held: Callable[..., Held]) -> None:
    async with held(max_items=1) as model:
        tasks = await model.waiting([1], [2])
        await model.batcher.aclose()
        model.encoder.go.set()
        results = await asyncio.gather(model.first, *tasks, return_exceptions=True)
        assert all(isinstance(result, EncoderOverloaded) for result in results)
        with pytest.raises(EncoderOverloaded, match="shutting down"):
            await model.batcher.submit([3])
        assert model.batcher.queued == 0
    await model.batcher.aclose()


async def test_a_model_that_hangs_does_not_hang_its_callers(make: Make) -> None:
    encoder, batcher = make(timeout=0.01)
    encoder.go.clear()
    with pytest.raises(EncoderOverloaded, match=r"not answered within 0\.01 seconds"):
        await batcher.submit([1])
    assert batcher.queued == 0


async def test_the_observer_is_told_the_facts(held: Callable[..., Held]) -> None:
    seen: list[BatchFacts] = []
    loop_thread = threading.get_ident()

    def observe(facts: BatchFacts) -> None:
        assert threading.get_ident() == loop_thread
        seen.append(facts)

    async with held(observe=observe, max_items=2) as model:
        tasks = await model.waiting([4, 5, 6])
        model.encoder.go.set()
        await asyncio.gather(*tasks)
        await asyncio.sleep(0.01)
    assert [(facts.items, facts.cost, facts.queued) for facts in seen] == [(1, 0, 3), (2, 9, 1), (1, 6, 0)]
    for facts in seen:
        assert len(facts.wait_seconds) == facts.items
        assert min(*facts.wait_seconds, facts.service_seconds, 0) == 0


async def test_an_observer_that_fails_harms_nobody(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    def observe(facts: BatchFacts) -> None:
        raise ValueError("broken observer")

    _, batcher = make(observe=observe)
    assert await batcher.submit([1]) == [2]
    assert await batcher.submit([2]) == [4]
    assert "broken observer" in caplog.text


@pytest.mark.parametrize(
    "limits", [{"max_items": 0}, {"max_queued": 0}, {"max_cost": -1}, {"max_wait_seconds": -1}], ids=str
)
def test_nonsense_limits_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        MicroBatcher(FakeEncoder(), BatchLimits(**limits))


async def test_one_at_a_time(eventually: Eventually) -> None:
    go, begun = threading.Event(), []

    def run(item: int) -> int:
        begun.append(item)
        assert go.wait(10)
        if item < 0:
            raise ValueError("negative")
        return 2 * item

    turns: OneAtATime[int, int] = OneAtATime(run, max_queued=3)
    first = asyncio.create_task(turns.submit(1))
    await eventually(lambda: begun == [1])
    rest = [asyncio.create_task(turns.submit(item)) for item in (-2, 3, 4)]
    await asyncio.sleep(0)
    assert turns.queued == 3
    with pytest.raises(EncoderOverloaded, match="try again shortly"):
        await turns.submit(5)
    rest[1].cancel()
    await asyncio.gather(rest[1], return_exceptions=True)
    go.set()
    results = await asyncio.gather(first, *rest, return_exceptions=True)
    assert [results[0], results[3]] == [2, 8]
    assert isinstance(results[1], ValueError)
    assert begun == [1, -2, 4]
    await turns.aclose()
    with pytest.raises(EncoderOverloaded, match="shutting down"):
        await turns.submit(6)
