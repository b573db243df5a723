"""Adapters of the decoder are models to clients; what begins alike says so to the engine's router."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx2
import openai
import pytest
from fake_platform import Platform, build_platform

from serving.affinity import AFFINITY_HEADER
from serving.config import GatewayConfig

QUESTION = {"role": "user", "content": "What is a fugue?"}


@pytest.fixture
def platform(tmp_path: Path, config: GatewayConfig) -> Platform:
    adapted = replace(config.chat_model, adapters=("legal", "team/medical"))
    return build_platform(tmp_path, replace(config, chat_model=adapted))


async def test_each_is_listed_and_found(client: openai.AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    assert {"legal", "team/medical"} < set(listed)
    assert (await client.models.retrieve("team/medical")).id == "team/medical"


async def test_the_engine_is_asked_for_it(
    client: openai.AsyncOpenAI, platform: Platform, config: GatewayConfig
) -> None:
    own = config.chat_model.name
    for asked, meant in (("legal", "legal"), ("team/medical", "team/medical"), ("default", own), (own, own)):
        answer = await client.chat.completions.create(model=asked, messages=[QUESTION])
        assert platform.engine.requests[-1]["model"] == meant
        assert answer.choices[0].message.content
        await client.responses.create(model=asked, input="What is a fugue?")
        assert platform.engine.requests[-1]["model"] == meant


async def test_another_is_not_found(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="medical", messages=[QUESTION])


async def test_turns_of_a_conversation_have_one_key_and_clients_cannot_choose_it(
    http: httpx2.AsyncClient, platform: Platform
) -> None:
    turns = [[QUESTION], [QUESTION, {"role": "assistant", "content": "A piece."}, QUESTION]]
    for messages in turns:
        body = {"model": "default", "messages": messages}
        sent = await http.post("/v1/chat/completions", json=body, headers={AFFINITY_HEADER: "mine"})
        assert sent.status_code == 200
    first, second = (headers[AFFINITY_HEADER] for headers in platform.engine.headers[-2:])
    assert first == second
    assert first not in ("", "mine")
