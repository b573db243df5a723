"""Failures stay with whom they belong to, and who has left is dropped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from fake_batch_encoder import Held, Make, batchers

Eventually = Callable[[Callable[[], bool]], object]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with batchers() as build:
        yield build


@pytest.fixture
def held(make: Make, eventually: Eventually) -> Callable[..., Held]:
    """A batcher whose model is busy with ``[0]``."""
    return lambda **options: Held(*make(**options), eventually)


@pytest.mark.parametrize("bad", range(8))
async def test_one_bad_item_of_eight_costs_a_few_runs(held: Callable[..., Held], bad: int) -> None:
    items = [[item if item != bad + 1 else -item] for item in range(1, 9)]
    async with held(max_items=8) as model:
        tasks = await model.waiting(*items)
        model.encoder.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for index, result in enumerate(results):
        if index == bad:
            assert isinstance(result, ValueError)
            assert str(result) == f"negative [-{bad + 1}]"
        else:
            assert result == [2 * (index + 1)]
    assert len(model.encoder.begun) - 1 <= 1 + 2 * 3


async def test_a_call_gets_its_first_error_and_the_rest_is_dropped(held: Callable[..., Held]) -> None:
    async with held(max_items=2, max_queued=6) as model:
        bad, good = await model.waiting([1, -2, 3, 4, -5], [6])
        model.encoder.go.set()
        with pytest.raises(ValueError, match=r"negative \[-2\]"):
            await bad
        assert await good == [12]
    ran = [item for batch in model.encoder.begun for item in batch]
    assert -5 not in ran
    assert model.batcher.queued == 0


async def test_errors_of_preparing_concern_their_call_alone(make: Make) -> None:
    _, batcher = make(max_items=4)
    results = await asyncio.gather(
        batcher.submit([1]), batcher.submit([2, 900]), batcher.submit([3]), return_exceptions=True
    )
    assert isinstance(results[1], ValueError)
    assert [results[0], results[2]] == [[2], [6]]
    assert batcher.queued == 0


class _Panic(BaseException):
    """As a panic in a tokeniser's Rust arrives."""


@pytest.mark.parametrize("method", ["prepare", "bucket", "cost", "run"])
@pytest.mark.parametrize("error", [_Panic("in Rust"), StopIteration()], ids=["panic", "StopIteration"])
async def test_nothing_an_encoder_raises_stops_the_batcher(
    make: Make, method: str, error: BaseException
) -> None:
    encoder, batcher = make(max_items=4)
    plain = getattr(encoder, method)

    def broken(argument: object) -> object:
        raise error

    setattr(encoder, method, broken)
    with pytest.raises(RuntimeError, match="The model stopped with"):
        await batcher.submit([1, 2])
    setattr(encoder, method, plain)
    assert await batcher.submit([3]) == [6]
    assert batcher.queued == 0


@pytest.mark.parametrize(("method", "value"), [("bucket", [1]), ("cost", None)])
async def test_nonsense_from_an_encoder_concerns_its_call_alone(
    make: Make, method: str, value: object
) -> None:
    encoder, batcher = make(max_items=4)
    plain = getattr(encoder, method)
    setattr(encoder, method, lambda prepared: value if prepared == 7 else plain(prepared))
    results = await asyncio.gather(batcher.submit([1, 7]), batcher.submit([2]), return_exceptions=True)
    assert isinstance(results[0], TypeError)
    assert results[1] == [4]
    assert batcher.queued == 0
    assert batcher._queue.lined_up == 0


@pytest.mark.parametrize(
    ("method", "words"), [("prepare", "prepared 0 of 1 items"), ("run", "0 results for 1 items")]
)
async def test_a_model_that_returns_too_few(make: Make, method: str, words: str) -> None:
    encoder, batcher = make()
    setattr(encoder, method, lambda items: [])
    with pytest.raises(RuntimeError, match=words):
        await batcher.submit([1])


async def test_what_is_cancelled_before_preparing_is_not_prepared(make: Make, eventually: Eventually) -> None:
    encoder, batcher = make(max_items=4)
    encoder.go_prepare.clear()
    tasks = [asyncio.create_task(batcher.submit([item])) for item in range(1, 5)]
    await eventually(lambda: len(encoder.preparing) == 2)  # as many threads prepare
    tasks[3].cancel()
    await asyncio.gather(tasks[3], return_exceptions=True)
    assert batcher.queued == 3
    encoder.go_prepare.set()
    assert await asyncio.gather(*tasks[:3]) == [[2], [4], [6]]
    assert [4] not in encoder.preparing


async def test_what_is_cancelled_while_preparing_does_not_run(make: Make, eventually: Eventually) -> None:
    encoder, batcher = make(max_items=4)
    encoder.go_prepare.clear()
    task = asyncio.create_task(batcher.submit([1]))
    await eventually(lambda: encoder.preparing == [[1]])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    encoder.go_prepare.set()
    assert await batcher.submit([2]) == [4]
    assert encoder.begun == [[2]]


async def test_what_is_cancelled_while_it_waits_leaves_the_next_batch(held: Callable[..., Held]) -> None:
    async with held(max_items=4, max_queued=4) as model:
        kept, dropped, other = await model.waiting([1], [2, 3], [15])
        dropped.cancel()
        other.cancel()
        await asyncio.gather(dropped, other, return_exceptions=True)
        assert model.batcher.queued == 1
        (late,) = await model.waiting([4, 5, 6])
        model.first.cancel()  # it runs already: its result is thrown away
        model.encoder.go.set()
        assert await asyncio.gather(kept, late) == [[2], [8, 10, 12]]
    assert model.encoder.begun == [[0], [1, 4, 5, 6]]


async def test_what_is_cancelled_while_a_bad_item_is_sought_is_not_run_again(
    held: Callable[..., Held], eventually: Eventually
) -> None:
    async with held(max_items=4) as model:
        good, bad, left, last = await model.waiting([1], [-2], [3], [4])
        encoder = model.encoder
        encoder.steps = threading.Semaphore(1)  # lets [0] end
        encoder.go.set()
        await eventually(lambda: encoder.begun == [[0], [1, -2, 3, 4]])
        left.cancel()
        bad.cancel()
        await asyncio.gather(left, bad, return_exceptions=True)
        encoder.steps.release(20)
        assert await asyncio.gather(good, last) == [[2], [8]]
    assert encoder.begun[2:] in ([[1], [4]], [[1, 4]])


async def test_a_full_or_long_queue_is_alive_as_long_as_batches_end(held: Callable[..., Held]) -> None:
    async with held(max_items=1, max_queued=3) as model:
        model.encoder.go.set()
        model.encoder.steps = threading.Semaphore(0)
        tasks = await model.waiting([1], [2])
        long = asyncio.create_task(model.batcher.check_alive(3, 10))  # gets into the queue, but far behind
        await asyncio.sleep(0)
        full = asyncio.create_task(model.batcher.check_alive(4, 10))
        await asyncio.sleep(0.1)
        assert not long.done()
        assert not full.done()
        model.encoder.steps.release()
        await asyncio.gather(long, full)
        assert model.batcher.queued == 1  # the question does not stay in the queue
        model.encoder.steps.release(10)
        await asyncio.gather(*tasks)


async def test_a_model_that_hangs_is_not_alive_whether_its_queue_is_full_or_not(
    held: Callable[..., Held],
) -> None:
    async with held(max_items=1, max_queued=1) as model:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await model.batcher.check_alive(1, 0.1)
        tasks = await model.waiting([2])
        with pytest.raises(TimeoutError):
            await model.batcher.check_alive(1, 0.1)
        model.encoder.go.set()
        await asyncio.gather(*tasks)
        await model.batcher.check_alive(1, 10)
        with pytest.raises(ValueError, match="negative"):
            await model.batcher.check_alive(-1, 10)
