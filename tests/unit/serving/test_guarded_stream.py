"""A guarded stream ends whatever it has begun, holds little, and shows nothing that nobody judged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from serving.engine_call import EngineAnswer
from serving.errors import EngineUnavailable
from serving.moderation.answers import guarded, guarded_whole
from serving.services import EngineResponse


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


class Source:
    """An engine's answer; ``given`` counts what was read of it."""

    def __init__(self, chunks: Sequence[bytes], failure: Exception | None = None) -> None:
        self._chunks = chunks
        self._failure = failure
        self.given = 0
        self.closed = asyncio.Event()

    async def chunks(self) -> AsyncIterator[EngineResponse | bytes]:
        try:
            for chunk in self._chunks:
                self.given += 1
                yield chunk
                await asyncio.sleep(0)
            if self._failure is not None:
                raise self._failure
        finally:
            self.closed.set()


class Judge:
    """Lets all pass, once ``go`` is set; ``asked`` are the texts."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[str] = []
        self.cancelled = False

    async def __call__(self, texts: Sequence[str]) -> list[str | None]:
        self.asked += texts
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return [None] * len(texts)


async def turns_of_the_loop(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_closing_before_the_first_byte_closes_the_engine() -> None:
    source = Source([event("a ")])
    rest = source.chunks()
    first = await anext(rest)
    assert isinstance(first, bytes)
    answer = guarded(EngineAnswer(first, rest), Judge(), 1)
    await answer.aclose()
    assert source.closed.is_set()


async def test_closing_in_the_middle_ends_reading_and_judging() -> None:
    source, judge = Source([event(f"word{number} ") for number in range(1000)]), Judge()
    answer = guarded(EngineAnswer(b"", source.chunks()), judge, 1)
    stream = aiter(answer)
    for _ in range(20):
        assert await anext(stream) == b""  # tells that the engine works; nothing was judged
    assert judge.asked
    await answer.aclose()
    assert judge.cancelled
    assert source.closed.is_set()


async def test_who_is_cancelled_while_waiting_leaves_nothing_running() -> None:
    source, judge = Source([event("one two three ")]), Judge()
    answer = guarded(EngineAnswer(b"", source.chunks()), judge, 1)

    async def read() -> None:
        async for _ in answer:
            pass

    before = asyncio.all_tasks()
    reading = asyncio.create_task(read())
    await turns_of_the_loop(50)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await answer.aclose()
    assert asyncio.all_tasks() == before
    assert judge.cancelled
    assert source.closed.is_set()


async def test_who_is_cancelled_twice_closes_the_engine_all_the_same() -> None:
    source, judge = (
        Source([event("x" * 600_000 + " ")] * 9),
        Judge(),
    )  # more than is held: nothing is being read
    leave = asyncio.Event()

    async def slow_to_leave(texts: Sequence[str]) -> list[str | None]:
        try:
            return await judge(texts)
        finally:
            await leave.wait()

    answer = guarded(EngineAnswer(b"", source.chunks()), slow_to_leave, 1)

    async def read() -> None:
        async for _ in answer:
            pass

    reading = asyncio.create_task(read())
    await turns_of_the_loop(50)
    for _ in range(2):
        reading.cancel()
        await turns_of_the_loop(5)
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert source.closed.is_set()


async def test_an_engine_that_is_faster_than_the_judge_is_held_back() -> None:
    source, judge = Source([event("x" * 10_000 + " ") for _ in range(1000)]), Judge()
    answer = guarded(EngineAnswer(b"", source.chunks()), judge, 1)

    async def read() -> bytes:
        return b"".join([chunk async for chunk in answer if isinstance(chunk, bytes)])

    reading = asyncio.create_task(read())
    await turns_of_the_loop(2000)
    assert 100 <= source.given <= 110  # about a megabyte
    judge.go.set()
    assert (await reading).count(b"data:") == 1000


async def test_a_failure_comes_after_all_that_was_let_through() -> None:
    source, judge = Source([event("a cat "), event("sits")], EngineUnavailable("gone")), Judge()
    judge.go.set()
    seen: list[bytes] = []

    async def read() -> None:
        async for chunk in guarded(EngineAnswer(b"", source.chunks()), judge, 1):
            assert isinstance(chunk, bytes)
            seen.append(chunk)

    with pytest.raises(EngineUnavailable):
        await read()
    assert b"".join(seen) == event("a cat ") + event("sits")


async def test_whole_answers_lose_what_is_refused_and_keep_the_rest() -> None:
    async def judge(texts: Sequence[str]) -> list[str | None]:
        return ["hate" if "bad" in text else None for text in texts]

    call = {"id": "1", "type": "function", "function": {"name": "say", "arguments": '{"text": "bad"}'}}
    decoded = {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"},
            {
                "index": 1,
                "message": {"role": "assistant", "content": "bad"},
                "logprobs": {"content": ["bad"]},
            },
            {"index": 2, "message": {"role": "assistant", "content": None, "tool_calls": [call]}},
            {"index": 3, "message": {"role": "assistant", "content": ""}, "finish_reason": "length"},
        ]
    }
    await guarded_whole(decoded, judge)
    assert [one.get("finish_reason") for one in decoded["choices"]] == [
        "stop",
        "content_filter",
        "content_filter",
        "length",
    ]
    assert "bad" not in json.dumps(decoded)
