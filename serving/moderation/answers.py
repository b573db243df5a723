"""Answers of the chat model under a policy: whole ones, and streams while they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from serving.engine_call import EngineAnswer
from serving.moderation.held_stream import FILTERED, HeldStream, Question, written
from serving.services import EngineResponse

__all__ = ["GuardedStream", "Judge", "guarded", "guarded_whole"]

Judge = Callable[[Sequence[str]], Awaitable[list[str | None]]]
"""The category that forbids each of some short texts."""

_MAX_HELD_BYTES = 1 << 20


def guarded(answer: EngineAnswer, judge: Judge, choices: int) -> EngineAnswer:
    """The stream of ``answer`` without what ``judge`` forbids. Closing it closes ``answer``."""
    return EngineAnswer(b"", GuardedStream(answer, judge, choices))


async def guarded_whole(decoded: dict[str, Any], judge: Judge) -> None:
    """Take out of a whole answer, in place, the choices that ``judge`` forbids."""
    choices = [one for one in decoded.get("choices") or () if isinstance(one.get("message"), dict)]
    texts = ["\n".join(piece for _, piece in written(one["message"])) for one in choices]
    judged = [index for index, text in enumerate(texts) if text.strip()]
    found = await judge([texts[index] for index in judged]) if judged else []
    for index, category in zip(judged, found, strict=True):
        if category is not None:
            choices[index] |= {
                "message": {"role": "assistant", "content": None, "refusal": None},
                "logprobs": None,
                "finish_reason": FILTERED,
            }


class GuardedStream:
    """Iterates over bytes that may be sent. While nothing may be, it gives empty ones, so that whoever waits knows
    that the engine works.

    The engine is read on while a piece is judged; at most a megabyte is held.
    """

    def __init__(self, answer: EngineAnswer, judge: Judge, choices: int) -> None:
        self._answer = answer
        self._judge = judge
        self._stream = HeldStream(choices)
        self._bytes = self._released()

    def __aiter__(self) -> GuardedStream:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._bytes)

    async def aclose(self) -> None:
        """Stop judging, and the engine."""
        try:
            await self._bytes.aclose()
        finally:
            await self._answer.aclose()

    async def _released(self) -> AsyncGenerator[bytes, None]:
        stream = self._stream
        source = aiter(self._answer)
        stream.feed(self._answer.first)
        reading: asyncio.Task[bytes | None] | None = None
        judging: asyncio.Task[list[tuple[Question, str | None]]] | None = None
        ended, failure = False, None
        try:
            while True:
                if judging is None and (questions := stream.questions()):
                    judging = asyncio.create_task(self._judged(questions))
                if reading is None and not ended and stream.held_bytes < _MAX_HELD_BYTES:
                    reading = asyncio.create_task(_next(source))
                waiting = [task for task in (reading, judging) if task is not None]
                if not waiting:
                    break
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if judging is not None and judging.done():
                    for question, category in judging.result():
                        stream.settle(question, category)
                    judging = None
                if reading is not None and reading.done():
                    done, reading = reading, None
                    try:
                        chunk = done.result()
                    except Exception as error:  # told when all that came before it is settled
                        chunk, failure = None, error
                    if chunk is None:
                        ended = True
                        stream.finish()
                    else:
                        stream.feed(chunk)
                yield stream.take()
                if stream.over:
                    yield stream.take() + stream.ending()
                    return
            if failure is not None:
                raise failure
        finally:
            begun = [task for task in (reading, judging) if task is not None]
            for task in begun:
                task.cancel()
            try:
                await asyncio.gather(*begun, return_exceptions=True)
            finally:
                await self._answer.aclose()

    async def _judged(self, questions: list[Question]) -> list[tuple[Question, str | None]]:
        categories = await self._judge([question.text for question in questions])
        return list(zip(questions, categories, strict=True))


async def _next(source: Any) -> bytes | None:
    """The next bytes; ``None`` at the end."""
    async for item in source:
        if not isinstance(item, EngineResponse):
            return bytes(item)
    return None
