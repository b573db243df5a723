"""One request to the engine: when it is asked again, and what of its errors comes out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from serving.config import RequestLimits
from serving.engine_call import call_engine
from serving.errors import EngineOverloaded, EngineRefused, EngineUnavailable, InvalidRequest
from serving.services import EngineResponse, PromptEmbeddings


class FakeScriptedEngine:
    """Each request plays the next script: responses and bytes are yielded, exceptions raised."""

    def __init__(self, *scripts) -> None:
        self.scripts = list(scripts)
        self.open = 0
        self.attachments = []

    async def request(self, method, path, headers, body, attachments):
        self.attachments.append(attachments)
        self.open += 1
        try:
            for item in self.scripts.pop(0):
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.open -= 1


def refusal(status: int, message: str) -> list:
    return [EngineResponse(status, ()), json.dumps({"error": {"message": message}}).encode()]


async def call(engine):
    limits = RequestLimits(first_token_timeout_seconds=0.01)
    return await call_engine(engine, "/x", {}, b"", limits=limits, first_byte_timeout_seconds=5)


async def test_attachments_go_with_both_tries():
    engine, attachments = FakeScriptedEngine([GONE], [HEAD, b"a"]), (PromptEmbeddings(np.ones((1, 2)), "m"),)
    answer = await call_engine(
        engine, "/x", {}, b"", attachments, limits=RequestLimits(), first_byte_timeout_seconds=5
    )
    await answer.aclose()
    assert engine.attachments == [attachments] * 2


HEAD, GONE = EngineResponse(200, ()), EngineUnavailable("The model is restarting.")


@pytest.mark.parametrize("first", [[GONE], [], [HEAD, GONE], [HEAD]])
async def test_it_is_asked_again_before_its_first_bytes(first):
    engine = FakeScriptedEngine(first, [HEAD, b"a", b"b"])
    assert await (await call(engine)).read(5) == b"ab"
    assert engine.open == 0


async def test_it_is_asked_twice_at_most():
    engine = FakeScriptedEngine([GONE], [HEAD, GONE], [HEAD, b"a"])
    with pytest.raises(EngineUnavailable):
        await call(engine)
    assert len(engine.scripts) == 1
    assert engine.open == 0


async def test_it_is_not_asked_again_once_it_has_answered():
    engine = FakeScriptedEngine(refusal(503, "Loading."), [HEAD, b"a"])
    with pytest.raises(EngineUnavailable):
        await call(engine)
    engine.scripts[:0] = [[HEAD, b"a", GONE]]
    answer = await call(engine)
    with pytest.raises(EngineUnavailable):
        await answer.read(5)
    assert len(engine.scripts) == 1
    assert engine.open == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest),
        (501, InvalidRequest),
        (404, EngineRefused),
        (500, EngineRefused),
        (502, EngineRefused),
        (429, EngineOverloaded),
    ],
)
async def test_refusals(status, error):
    with pytest.raises(error) as refused:
        await call(FakeScriptedEngine(refusal(status, "tool_choice is not supported. " + "x" * 5000)))
    assert type(refused.value) is error
    assert len(str(refused.value)) <= 500
    assert ("tool_choice" in str(refused.value)) == (error is InvalidRequest)


async def test_what_the_engine_tells_its_operator_is_left_out():
    told = (
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that "
        "`max_model_len` is no smaller than the number of text tokens plus multimodal tokens."
    )
    with pytest.raises(InvalidRequest) as caught:
        await call(FakeScriptedEngine(refusal(400, told)))
    assert caught.value.message == told.partition(" Make sure")[0]
    assert (caught.value.param, caught.value.code) == ("messages", "context_length_exceeded")
