"""The second try: only for errors at the beginning, only once, never after a word was said."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from serving.engines.second_try import answered_again
from serving.services import EngineResponse

OK, FAILED, BAD = EngineResponse(200, ()), EngineResponse(500, ()), EngineResponse(400, ())
OPENING = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
ERROR = b'data: {"error": {"message": "Internal server error"}}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


class Script:
    """Answers one after another; counts those that are open."""

    def __init__(self, *answers: list[EngineResponse | bytes]) -> None:
        self.answers = list(answers)
        self.open = 0

    async def __call__(self) -> AsyncGenerator[EngineResponse | bytes, None]:
        self.open += 1
        try:
            for item in self.answers.pop(0):
                yield item
        finally:
            self.open -= 1


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ([OK, b"{}"], False),
        ([OK, OPENING, WORD], False),
        ([OK, OPENING + WORD, ERROR], False),
        ([OK, OPENING, WORD, ERROR], False),
        ([BAD, b"{}"], False),
        ([OK], False),
        ([FAILED, b"{}"], True),
        ([OK, ERROR], True),
        ([OK, OPENING, ERROR], True),
        ([OK, OPENING + ERROR], True),
        ([OK, OPENING + OPENING, ERROR], True),
        ([OK, OPENING, OPENING, ERROR], True),
        ([OK, OPENING + OPENING, WORD, ERROR], False),
    ],
)
async def test_who_is_asked_again(first: list[EngineResponse | bytes], again: bool) -> None:
    second: list[EngineResponse | bytes] = [OK, b"second"]
    script = Script(first, second)
    assert [item async for item in answered_again(script)] == (second if again else first)
    assert (len(script.answers), script.open) == (0 if again else 1, 0)


async def test_never_a_third_time() -> None:
    script = Script([FAILED, b"1"], [FAILED, b"2"], [OK, b"3"])
    assert [item async for item in answered_again(script)] == [FAILED, b"2"]


async def test_a_reader_that_leaves_closes_the_answer() -> None:
    script = Script([OK, WORD, WORD])
    async with aclosing(answered_again(script)) as answer:
        await anext(answer)
        assert script.open == 1
    assert script.open == 0
