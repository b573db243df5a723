"""How long the first that waits for a model has waited is known while it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from fake_batch_encoder import Held, Make, batchers

from encoders.batching.queue_time import longest_wait

Eventually = Callable[[Callable[[], bool]], object]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with batchers() as build:
        yield build


async def test_what_runs_does_not_wait_and_what_waits_waits_ever_longer(
    make: Make, eventually: Eventually
) -> None:
    encoder, batcher = make(max_items=1)
    assert batcher.waiting_seconds == 0
    async with Held(encoder, batcher, eventually) as model:
        assert batcher.waiting_seconds == 0  # its only item has begun
        tasks = await model.waiting([1])
        before = batcher.waiting_seconds
        await eventually(lambda: batcher.waiting_seconds > before)
        tasks += await model.waiting([2])
        assert batcher.waiting_seconds >= before  # of the first, not of the last
        encoder.go.set()
        await asyncio.gather(*tasks)
        assert batcher.waiting_seconds == 0


async def test_who_leaves_waits_no_more(make: Make, eventually: Eventually) -> None:
    encoder, batcher = make(max_items=1)
    async with Held(encoder, batcher, eventually) as model:
        (task,) = await model.waiting([1])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert batcher.waiting_seconds == 0


def test_of_several_models_the_longest_wait_counts() -> None:
    class Fake:
        def __init__(self, seconds: float) -> None:
            self.waiting_seconds = seconds

    assert longest_wait([Fake(0.5), None, Fake(2.0)]) == 2.0
    assert longest_wait([None]) == 0.0
