"""Turns at what is scarce: who holds least is next, nobody waits without bound, nothing leaks."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import EngineOverloaded, RateLimited
from serving.fair_queue import FairQueue


def queue(slots: int, waiting: int = 100, **more) -> FairQueue:
    return FairQueue(slots, waiting, lambda: EngineOverloaded("full"), **more)


async def test_whoever_holds_least_is_next():
    turns = queue(2)
    first = [await turns.take("noisy") for _ in range(2)]
    served: list[str] = []

    async def ask(tenant: str) -> None:
        async with turns.turn(tenant):
            served.append(tenant)

    waiting = [asyncio.create_task(ask("noisy")) for _ in range(10)]
    await asyncio.sleep(0)
    waiting += [asyncio.create_task(ask("quiet")) for _ in range(2)]
    await asyncio.sleep(0)
    assert not served
    first[0].release()
    await asyncio.gather(*waiting)
    assert served[:2] == ["quiet", "quiet"]
    first[1].release()
    first[1].release()  # again does nothing
    assert turns.held == 0


async def test_equals_take_turns():
    turns = queue(1)
    begun = await turns.take("x")
    served: list[str] = []

    async def ask(tenant: str) -> None:
        async with turns.turn(tenant):
            served.append(tenant)

    tasks = [asyncio.create_task(ask(tenant)) for tenant in ("a",) * 3 + ("b",) * 3 + ("c",) * 3]
    await asyncio.sleep(0)
    begun.release()
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "c"] * 3


async def test_a_newcomer_finds_a_slot_while_others_are_about():
    now = [0.0]
    turns = queue(4, kept_free=1, clock=lambda: now[0])
    alone = [await turns.take("noisy") for _ in range(4)]  # nobody else is about: all is theirs
    for turn in alone:
        turn.release()
    (await turns.take("quiet")).release()
    held = [await turns.take("noisy") for _ in range(3)]
    fourth = asyncio.create_task(turns.take("noisy"))
    await asyncio.sleep(0)
    assert not fourth.done()
    (await asyncio.wait_for(turns.take("quiet"), 1)).release()
    now[0] = 61.0  # the other one has gone, which is seen at the next end
    held[0].release()
    await fourth
    assert turns.held == 3
    await asyncio.wait_for(turns.take("noisy"), 1)


async def test_lines_are_bounded():
    turns = queue(1, waiting=4, waiting_per_tenant=3)
    await turns.take("noisy")
    waiting = [asyncio.create_task(turns.take("noisy")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited):
        await turns.take("noisy")
    waiting += [asyncio.create_task(turns.take(tenant)) for tenant in ("quiet", "other")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(RateLimited):
        await waiting[2]  # the last of the longest line gave way
    waiting += [asyncio.create_task(turns.take("third"))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turns.waiting == 4
    with pytest.raises(EngineOverloaded):
        await turns.take("fourth")  # no line is longer than its own would be
    with pytest.raises(RateLimited):
        await waiting[1]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert turns.waiting == 0
    assert turns.held == 1


async def test_several_noisy_tenants_keep_nobody_from_waiting():
    turns = queue(2, waiting=8)
    held = [await turns.take(tenant) for tenant in ("loud", "noisy")]

    async def ask(tenant: str) -> str:
        async with turns.turn(tenant):
            return tenant

    lines = [asyncio.create_task(ask(tenant)) for tenant in ("loud", "noisy") * 4]
    await asyncio.sleep(0)
    assert turns.waiting == 8
    quiet = asyncio.create_task(ask("quiet"))
    await asyncio.sleep(0)
    lines[-2].cancel()  # the one that gives way, at that moment
    await asyncio.sleep(0)
    for turn in held:
        turn.release()
    assert await asyncio.wait_for(quiet, 1) == "quiet"
    ended = await asyncio.gather(*lines, return_exceptions=True)
    assert ended[:-2] == ["loud", "noisy"] * 3
    assert turns.held == turns.waiting == 0


async def test_without_lines_a_share_is_refused_and_a_full_house_too():
    turns = queue(4, waiting=0, kept_free=1)
    (await turns.take("quiet")).release()
    for _ in range(3):
        await turns.take("noisy")
    with pytest.raises(RateLimited):
        await turns.take("noisy")
    await turns.take("quiet")
    with pytest.raises(EngineOverloaded):
        await turns.take("other")


async def test_many_slots_at_once_are_waited_for():
    turns = queue(4)
    one = await turns.take("a")
    many = asyncio.create_task(turns.take("b", 99))  # no more than there are
    await asyncio.sleep(0)
    few = asyncio.create_task(turns.take("c"))
    await asyncio.sleep(0)
    assert not many.done()
    assert not few.done()
    one.release()
    (await many).release()
    (await few).release()
    assert turns.held == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans()), max_size=40),
    st.integers(0, 40),
)
def test_nothing_leaks(asked: list[tuple[str, int, bool]], waiting: int):
    async def run() -> None:
        turns = queue(4, waiting, kept_free=1)

        async def ask(tenant: str, cost: int) -> None:
            with suppress(RateLimited, EngineOverloaded):
                async with turns.turn(tenant, cost):
                    assert 0 < turns.held <= 4
                    await asyncio.sleep(0)

        tasks = []
        for tenant, cost, give_up in asked:
            tasks.append(asyncio.create_task(ask(tenant, cost)))
            if not give_up:
                await asyncio.sleep(0)
                continue
            for task in tasks[len(tasks) // 2 :]:  # several at once, before one of them has run
                task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [one for one in done if isinstance(one, Exception)]
        assert turns.held == turns.waiting == 0

    asyncio.run(run())
