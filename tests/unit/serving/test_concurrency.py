"""Taking turns, and work that reaches its end."""

from __future__ import annotations

import asyncio

import pytest

from serving.concurrency import to_the_end, turn
from serving.disconnect import unless_gone


async def test_work_reaches_its_end_however_often_its_caller_is_cancelled():
    go, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        ended.set()

    caller = asyncio.create_task(to_the_end(work()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go.set()
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_cancelled_caller_is_cancelled_after_the_end_and_results_and_errors_pass():
    ended = asyncio.Event()

    async def work() -> str:
        await asyncio.sleep(0.01)
        ended.set()
        return "done"

    async def fails() -> None:
        raise KeyError

    assert await to_the_end(work()) == "done"
    with pytest.raises(KeyError):
        await to_the_end(fails())
    ended.clear()
    caller = asyncio.create_task(to_the_end(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_turns():
    slots = asyncio.Semaphore(1)
    async with turn(slots, 1, KeyError("busy")):
        with pytest.raises(KeyError, match="busy"):
            async with turn(slots, 0.01, KeyError("busy")):
                pass
    with pytest.raises(TimeoutError):  # the block's own, not taken for a turn that did not come
        async with turn(slots, 1, KeyError("busy")):
            raise TimeoutError
    async with turn(slots, 1, KeyError("busy")):
        assert slots.locked()


async def test_a_result_that_nobody_takes_is_closed():
    go, closed = asyncio.Event(), asyncio.Event()

    class Answer:
        async def aclose(self) -> None:
            closed.set()

    async def work() -> Answer:
        await go.wait()
        return Answer()

    async def receive() -> dict:
        await asyncio.Event().wait()
        raise AssertionError

    caller = asyncio.create_task(unless_gone(receive, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    go.set()
    await asyncio.sleep(0)  # the work is done, and the caller has not seen it yet
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert closed.is_set()
