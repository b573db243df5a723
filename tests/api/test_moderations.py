"""``/v1/moderations``, as OpenAI's client uses it: what is judged, by what, and what nobody can tell."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from fake_platform import Platform, build_platform, http_client
from fake_services import fake_mp4, fake_png, fake_wav
from openai_spec import openai_spec

from serving.config import GatewayConfig
from serving.moderation.policy import CATEGORIES, ModerationPolicy
from serving.tenant_settings import TenantSettings

TOLD_OF_TEXT = {"harassment", "harassment/threatening", "hate"}


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


async def ask(http: httpx2.AsyncClient, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await http.post("/v1/moderations", json=body)
    return answer.status_code, answer.json()


async def test_one_text_several_texts_and_parts_by_the_official_client(client: openai.AsyncOpenAI) -> None:
    single = await client.moderations.create(input="You idiot!")
    assert (single.model, len(single.results)) == ("tox-block", 1)
    (found,) = single.results
    assert found.flagged
    assert found.categories.harassment
    assert not found.categories.hate
    assert found.category_scores.harassment == 0.95
    assert found.category_applied_input_types.harassment == ["text"]
    assert found.category_applied_input_types.sexual == []
    assert single.id.startswith("modr-")

    several = await client.moderations.create(input=["a cat", "vermin", ""], model="text-moderation-stable")
    assert [one.flagged for one in several.results] == [False, True, False]

    parts = await client.moderations.create(
        model="omni-moderation-latest",
        input=[text("a cat"), picture(data_url(fake_png(sexual=0.9))), text("I will kill you")],
    )
    (together,) = parts.results
    assert parts.model == "tox-block+open-nsfw"
    assert together.categories.sexual
    assert together.categories.harassment_threatening
    assert not together.categories.harassment
    assert together.category_applied_input_types.sexual == ["image"]
    assert together.category_applied_input_types.harassment_threatening == ["text"]


@pytest.mark.parametrize(
    "given",
    [
        "hello",
        ["hello", "idiot"],
        [text("hello"), picture(data_url(fake_png()))],
        [picture(data_url(fake_png()))],
    ],
    ids=["text", "texts", "both", "picture"],
)
async def test_answers_are_openais_and_name_all_thirteen(http: httpx2.AsyncClient, given: Any) -> None:
    status, answer = await ask(http, input=given)
    assert status == 200
    assert openai_spec().problems("CreateModerationResponse", answer) == []
    for result in answer["results"]:
        scores, applied = result["category_scores"], result["category_applied_input_types"]
        assert (
            tuple(sorted(scores))
            == tuple(sorted(applied))
            == tuple(sorted(result["categories"]))
            == CATEGORIES
        )
        told = {name for name in CATEGORIES if applied[name]}
        assert told <= TOLD_OF_TEXT | {"sexual"}
        assert all(scores[name] == 0 and not result["categories"][name] for name in set(CATEGORIES) - told)
        assert result["flagged"] is any(result["categories"].values())


async def test_pictures_by_data_url_and_file_are_judged_once(
    platform: Platform, http: httpx2.AsyncClient
) -> None:
    data = fake_png(sexual=0.7)
    stored = await http.post("/v1/media", files={"file": ("a.png", data)})
    for url in (data_url(data), stored.json()["id"], data_url(data)):
        status, answer = await ask(http, input=[picture(url)])
        assert (status, answer["model"]) == (200, "open-nsfw")
        assert answer["results"][0]["category_scores"]["sexual"] == 0.7
    assert platform.perception.calls["moderate_image"] == 1


async def test_an_animated_picture_is_judged_by_its_worst_frame(http: httpx2.AsyncClient) -> None:
    animated = fake_png(frames=[{"cat": 0.9}, {"nude": 0.8}], sexual=0.0)
    _, answer = await ask(http, input=[picture(data_url(animated))])
    assert answer["results"][0]["category_scores"]["sexual"] == 0.8


async def test_texts_are_remembered_and_long_ones_judged_to_their_end(
    platform: Platform, http: httpx2.AsyncClient
) -> None:
    perception = platform.perception
    await ask(http, input=["a cat", "a dog", "a cat"])
    await ask(http, input="a cat")
    assert perception.judged == ["a cat", "a dog"]
    platform = build_platform(
        platform.root,
        replace(
            platform.gateway.config,
            limits=replace(platform.gateway.config.limits, max_text_characters=20_000),
        ),
    )
    async with http_client(platform) as http:
        _, answer = await ask(http, input="word " * 2500 + "idiot")
    assert answer["results"][0]["flagged"]
    assert all(len(piece) <= 4000 for piece in platform.perception.judged)


async def test_thresholds_decide_what_is_flagged_but_not_what_nobody_judged(
    tmp_path: Path, config: GatewayConfig
) -> None:
    policy = ModerationPolicy(threshold=0.0, thresholds={"harassment": 0.99})
    platform = build_platform(tmp_path, replace(config, tenant_defaults=TenantSettings(moderation=policy)))
    async with http_client(platform) as http:
        _, answer = await ask(http, input="You idiot!")
    (result,) = answer["results"]
    assert {name for name, flagged in result["categories"].items() if flagged} == TOLD_OF_TEXT - {
        "harassment"
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["a", text("b")]}, None),
        ({"input": "a" * 2001}, "input"),
        ({"input": ["a"] * 9}, "input"),
        ({"input": [picture("x")]}, "input[0].image_url.url"),
        ({"input": [picture("file-missing")]}, None),
        ({"input": [picture(data_url(fake_wav()))]}, "input[0].image_url.url"),
        ({"input": [picture(data_url(fake_mp4([{"cat": 1.0}])))]}, "input[0].image_url.url"),
        ({"input": [picture(data_url(fake_png()))] * 5}, "input"),
        ({"input": [{"type": "input_audio"}]}, None),
        ({"input": "a", "model": "gpt-4o"}, "model"),
        ({"input": "a", "model": None}, "model"),
        ({"input": "a", "model": "open-nsfw"}, "input"),
        (
            {"input": [picture(data_url(fake_png()))], "model": "text-moderation-latest"},
            "input[0].image_url.url",
        ),
        ({"input": "a", "user": "me"}, "user"),
    ],
)
async def test_what_is_wrong_is_said_in_openais_form(
    http: httpx2.AsyncClient, body: dict[str, Any], param: str | None
) -> None:
    status, answer = await ask(http, **body)
    assert status in (400, 404), answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    if param is not None:
        assert answer["error"]["param"] == param


async def test_exactly_at_the_limits_passes(http: httpx2.AsyncClient) -> None:
    for given in ("a" * 2000, ["a"] * 8, [picture(data_url(fake_png()))] * 4):
        assert (await ask(http, input=given))[0] == 200


async def test_without_models_it_is_not_offered(tmp_path: Path, config: GatewayConfig) -> None:
    platform = build_platform(tmp_path, replace(config, moderation_text=None, moderation_image=None))
    async with http_client(platform) as http:
        status, answer = await ask(http, input="a")
        assert (status, answer["error"]["code"]) == (501, "not_offered")
    platform = build_platform(tmp_path, replace(config, moderation_text=None))
    async with http_client(platform) as http:
        assert (await ask(http, input="a"))[0] == 400
        assert (await ask(http, input=[picture(data_url(fake_png()))]))[1]["model"] == "open-nsfw"


async def test_the_models_are_listed_with_the_names_of_openais(client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert {"tox-block", "open-nsfw"} <= set(names)
    assert (await client.models.retrieve("omni-moderation-latest")).id == "tox-block"
