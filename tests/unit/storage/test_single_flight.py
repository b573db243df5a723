"""Identical concurrent work runs once, whoever is cancelled and whatever fails."""

from __future__ import annotations

import asyncio
import gc

import pytest

from storage.single_flight import SingleFlight


class FakeWork:
    """Work that waits to be let go and counts how often it was started and cancelled."""

    def __init__(self, result: str = "done", error: Exception | None = None) -> None:
        self.started = 0
        self.cancelled = 0
        self.let_go = asyncio.Event()
        self._result = result
        self._error = error

    async def __call__(self) -> str:
        self.started += 1
        try:
            await asyncio.wait_for(self.let_go.wait(), timeout=30)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self._error is not None:
            raise self._error
        return self._result


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_waiters_one_run() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = FakeWork()
    waiters = [asyncio.create_task(flights.run("key", work)) for _ in range(20)]
    other = asyncio.create_task(flights.run("other", FakeWork("never")))
    await settle()
    assert len(flights) == 2
    work.let_go.set()
    assert await asyncio.gather(*waiters) == ["done"] * 20
    assert work.started == 1
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    await settle()
    assert len(flights) == 0


async def test_a_finished_flight_is_not_reused() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = FakeWork()
    work.let_go.set()
    assert await flights.run("key", work) == await flights.run("key", work) == "done"
    assert work.started == 2


@pytest.mark.parametrize("gone", [[0], [0, 1], [1], [0, 2]])
async def test_cancelled_callers_do_not_take_the_others_result_away(gone: list[int]) -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = FakeWork()
    waiters = [asyncio.create_task(flights.run("key", work)) for _ in range(3)]
    await settle()
    for number in gone:
        waiters[number].cancel()
    await settle()
    work.let_go.set()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    for number, result in enumerate(results):
        assert isinstance(result, asyncio.CancelledError) if number in gone else result == "done"
    assert (work.started, work.cancelled) == (1, 0)


async def test_work_that_nobody_waits_for_is_cancelled_and_a_newcomer_starts_afresh() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = FakeWork()
    waiters = [asyncio.create_task(flights.run("key", work)) for _ in range(2)]
    await settle()
    for waiter in waiters:
        waiter.cancel()
    await asyncio.sleep(0)  # the waiters have left; the work's own cancellation is still to come
    fresh = FakeWork("fresh")
    newcomer = asyncio.create_task(flights.run("key", fresh))
    await settle()
    fresh.let_go.set()
    assert await newcomer == "fresh"
    assert (work.started, work.cancelled, fresh.cancelled) == (1, 1, 0)
    assert len(flights) == 0


async def test_an_error_reaches_every_waiter_and_is_not_kept() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = FakeWork(error=ValueError("broken"))
    waiters = [asyncio.create_task(flights.run("key", work)) for _ in range(3)]
    await settle()
    work.let_go.set()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert [str(result) for result in results] == ["broken"] * 3
    assert len(flights) == 0
    good = FakeWork()
    good.let_go.set()
    assert await flights.run("key", good) == "done"


async def test_an_error_that_nobody_waits_for_any_more_is_not_reported_as_lost() -> None:
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context))
    flights: SingleFlight[str] = SingleFlight()
    work = FakeWork(error=ValueError("broken"))
    waiter = asyncio.create_task(flights.run("key", work))
    await settle()
    work.let_go.set()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    await settle()
    gc.collect()
    await settle()
    assert lost == []
