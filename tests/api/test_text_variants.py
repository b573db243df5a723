"""Further text models of ``/v1/embeddings``: asked for by name, one space each, kept apart everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx2
import openai
import pytest
from fake_platform import Platform, build_platform

from serving.catalogue import space_model
from serving.config import GatewayConfig

NAMES = ("legal-texts", "team/medical")
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.fixture
def config(config: GatewayConfig) -> GatewayConfig:
    specs = (replace(config.text_model, name=name, dimensions=8, revision=f"{name}-1") for name in NAMES)
    return replace(config, text_variants=tuple(specs))


@pytest.fixture
def platform(tmp_path: Path, config: GatewayConfig) -> Platform:
    return build_platform(tmp_path, config)


async def vectors(client: openai.AsyncOpenAI, model: str, *texts: str) -> list[list[float]]:
    answer = await client.embeddings.create(model=model, input=list(texts))
    assert answer.model == model
    assert answer.usage.total_tokens > 0
    return [one.embedding for one in answer.data]


async def test_each_is_listed_with_its_facts(client: openai.AsyncOpenAI) -> None:
    assert {*NAMES} < {model.id async for model in client.models.list()}
    facts = (await client.models.retrieve(NAMES[1])).model_extra["manymodal"]
    assert (facts["task"], facts["dimensions"], facts["memory"]) == ("text", 8, "loaded when asked for")


async def test_each_gives_its_own_vectors_and_caches_keep_them_apart(
    client: openai.AsyncOpenAI, platform: Platform, config: GatewayConfig
) -> None:
    own = config.text_model.name
    first = {model: await vectors(client, model, "a fugue", "a cat") for model in (own, *NAMES)}
    assert {model: len(found[0]) for model, found in first.items()} == {own: 384, NAMES[0]: 8, NAMES[1]: 8}
    assert first[NAMES[0]] != first[NAMES[1]]
    again = {model: await vectors(client, model, "a fugue", "a cat") for model in first}
    assert again == first
    assert platform.perception.calls["embed_texts"] == 3


async def test_they_take_texts_and_nothing_else(client: openai.AsyncOpenAI) -> None:
    for given in ([PNG], [["a", "b"]], [[1, 2, 3]]):
        with pytest.raises(openai.BadRequestError, match=r"texts.*"):
            await client.embeddings.create(model=NAMES[0], input=given)
    with pytest.raises(openai.BadRequestError, match="8 dimensions"):
        await client.embeddings.create(model=NAMES[0], input="a", dimensions=384)
    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="team", input="a")


async def test_a_space_of_a_collection_is_for_vectors_of_one_of_them(
    client: openai.AsyncOpenAI, http: httpx2.AsyncClient, config: GatewayConfig
) -> None:
    model = space_model(config.text_variants[0])
    spaces = [{"name": "legal", "dimensions": 8, "model": model}]
    made = await http.post("/v1/collections", json={"name": "laws", "spaces": spaces})
    assert made.status_code == 200, made.text
    texts = {"rent": "rent is due monthly", "dogs": "dogs are kept on a lead"}
    embedded = dict(zip(texts, await vectors(client, NAMES[0], *texts.values()), strict=True))
    for name, text in texts.items():
        body = {"id": name, "text": text, "vectors": {"legal": embedded[name]}}
        added = await http.post("/v1/collections/laws/documents", json=body)
        assert added.status_code == 200, added.text
    query = {"type": "vector", "content": embedded["dogs"], "space": "legal"}
    found = await http.post("/v1/search", json={"collection": "laws", "query": query})
    assert found.json()["results"][0]["id"] == "dogs", found.text
