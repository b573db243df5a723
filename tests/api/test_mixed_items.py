"""Items of several parts: one vector of text and media together, in embeddings, queries and documents."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_platform import build_platform, http_client
from fake_services import DIMENSIONS, fake_embedding, fake_mp4, fake_png, fake_wav
from pydantic import ValidationError

from fusion.vector_gate import MODALITIES
from serving.protocol.embeddings import EmbeddingRequest

MODEL = "all-minilm-l6-v2"


def picture(**labels: float) -> dict:
    url = f"data:image/png;base64,{base64.b64encode(fake_png(labels)).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def film(*frames: str) -> dict:
    content = fake_mp4([{frame: 0.9} for frame in frames])
    return {
        "type": "video_url",
        "video_url": {"url": f"data:video/mp4;base64,{base64.b64encode(content).decode()}"},
    }


def sound(text: str) -> dict:
    content = fake_wav((0.0, 1.0, text))
    return {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(content).decode(), "format": "wav"},
    }


def unit(*vectors: np.ndarray) -> np.ndarray:
    total = np.sum(vectors, axis=0)
    return total / np.linalg.norm(total)


async def embed(http, *items: object, **fields: object) -> dict:
    answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": list(items), **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def vectors_of(answer: dict) -> list[np.ndarray]:
    return [np.array(item["embedding"]) for item in answer["data"]]


async def test_a_list_of_parts_gets_one_vector(platform_with):
    platform = platform_with(max_embedding_inputs=16, max_media_per_request=8)
    async with http_client(platform) as http:
        answer = await embed(
            http,
            "plain",
            ["for sale", picture(bicycle=0.9)],
            [picture(cat=0.9), {"type": "text", "text": "my pet"}, picture(dog=0.9)],
            picture(tree=0.9),
            ["alone"],
            [sound("good morning"), film("sea", "sun"), "holiday"],
        )
    plain, bicycle, pets, tree, alone, holiday = vectors_of(answer)
    of = fake_embedding
    np.testing.assert_allclose(plain, of("plain"), atol=1e-6)
    np.testing.assert_allclose(bicycle, unit(of("for sale"), of("bicycle")), atol=1e-6)
    np.testing.assert_allclose(pets, unit(of("my pet"), unit(of("cat"), of("dog"))), atol=1e-6)
    np.testing.assert_allclose(tree, of("tree"), atol=1e-6)
    np.testing.assert_allclose(alone, of("alone"), atol=1e-6)
    expected = unit(of("good morning"), unit(of("sea"), of("sun")), of("holiday"))
    np.testing.assert_allclose(holiday, expected, atol=1e-6)
    third = pytest.approx(1 / 3)
    assert answer["manymodal"]["weights"] == {
        "1": {"text": 0.5, "image": 0.5},
        "2": {"text": 0.5, "image": 0.5},
        "4": {"text": 1.0},
        "5": {"text": third, "audio": third, "video": third},
    }
    kinds = [medium["kind"] for medium in answer["manymodal"]["media"]]
    assert kinds == ["image", "image", "image", "image", "audio", "video"]
    assert answer["usage"]["prompt_tokens"] == 1 + 2 + 2 + 1 + 1
    # What is written is embedded in one call; the speech that was heard in a call of its own.
    assert platform.perception.calls["embed_texts"] == 2


async def test_the_order_of_parts_says_nothing(http):
    one, other = vectors_of(
        await embed(
            http, ["red", picture(car=0.9), sound("vroom")], [sound("vroom"), "red", picture(car=0.9)]
        )
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ([], "input"),
        ([""], "input"),
        (["text", "  "], "input"),
        (["x"] * 17, "input"),
        ([["x"]], "input[0][0]"),
        ([1, 2], "input"),
        (["x", {"type": "image_url", "image_url": {"url": "nonsense"}}], "input[0][1].image_url.url"),
        (["x", {"type": "image_url"}], "input[0][1].image_url"),
        (["x", {"type": "attachment", "index": 0}], "input[0][1]"),
        ([sound(""), "x"], "input[0][0]"),
    ],
)
async def test_refusals_name_the_part(http, item, param):
    answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": [item]})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_token_arrays_are_refused_with_the_reason_where_the_model_has_no_tokenizer(http):
    for tokens in ([1], [1] * 200):
        answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": [tokens]})
        assert answer.status_code == 400
        assert "takes no token arrays" in answer.json()["error"]["message"]


@pytest.mark.parametrize("part", [1, None, {"type": "text"}, ["x"]])
def test_a_hostile_list_is_read_to_its_first_fault(part):
    """Else a fault with words of its own is kept for every entry: 1.5 GB for a body of 2 MB."""
    with pytest.raises(ValidationError) as refused:
        EmbeddingRequest.model_validate({"model": MODEL, "input": [["x", *[part] * 500, None]]})
    assert refused.value.error_count() < 30


async def test_parts_count_as_inputs(http):
    answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": [["x", "y", "z"]] * 3})
    assert "max_embedding_inputs" in answer.json()["error"]["message"]
    media = [[picture(cat=0.9), picture(dog=0.9), picture(cow=0.9)], picture(hen=0.9), picture(pig=0.9)]
    answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": media})
    assert "max_media_per_request" in answer.json()["error"]["message"]


async def test_a_gate_of_ones_own(tmp_path: Path, config):
    from safetensors.numpy import save_file

    weights = {
        "score.weight": np.zeros((4, 2), np.float32),
        "score.bias": np.log([3, 1, 1, 1]).astype(np.float32),
    }
    for modality in MODALITIES:
        weights[f"project.{modality}.weight"] = np.zeros((2, DIMENSIONS), np.float32)
        weights[f"project.{modality}.bias"] = np.zeros(2, np.float32)
    save_file(weights, tmp_path / "gate.safetensors")
    platform = build_platform(tmp_path, replace(config, gate_file=tmp_path / "gate.safetensors"))
    async with http_client(platform) as http:
        answer = await embed(http, ["for sale", picture(bicycle=0.9)])
    assert answer["manymodal"]["weights"]["0"] == {"text": pytest.approx(0.75), "image": pytest.approx(0.25)}
    expected = unit(3 * fake_embedding("for sale"), fake_embedding("bicycle"))
    np.testing.assert_allclose(vectors_of(answer)[0], expected, atol=1e-6)


async def index_pictures(http, *labels: str) -> None:
    for label in labels:
        stored = await http.post("/v1/media", files={"file": (f"{label}.png", fake_png({label: 0.9}))})
        document = {"media_id": stored.json()["id"], "id": label.replace(" ", "-")}
        added = await http.post("/v1/collections/default/documents", json=document)
        assert added.status_code == 200, added.text


def mixed(*parts: tuple[str, str]) -> dict:
    return {"type": "mixed", "content": [{"type": kind, "content": content} for kind, content in parts]}


async def search(http, query: object, **fields: object) -> dict:
    answer = await http.post("/v1/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_mixed_query_is_one_vector(http):
    await index_pictures(http, "red bicycle", "bicycle", "red car")
    like = picture(bicycle=0.9)["image_url"]["url"]
    answer = await search(http, mixed(("text", "red"), ("image", like)))
    assert answer["results"][0]["id"] == "red-bicycle"
    assert answer["results"][0]["similarity_score"] == pytest.approx(1.0, abs=1e-5)
    assert answer["manymodal"]["weights"] == {"0": {"text": 0.5, "image": 0.5}}
    assert answer["manymodal"]["media"][0]["kind"] == "image"
    # Among other items it counts as one, by its own weight.
    answer = await search(
        http, [{**mixed(("text", "red"), ("image", like)), "weight": -1}, {"type": "text", "content": "car"}]
    )
    assert answer["results"][0]["id"] == "red-car"
    assert list(answer["manymodal"]["weights"]) == ["0"]


async def test_words_of_a_mixed_query_count_in_hybrid_search(http):
    await index_pictures(http, "red bicycle", "bicycle")
    like = picture(bicycle=0.9)["image_url"]["url"]
    answer = await search(http, mixed(("text", "red"), ("image", like)), mode="hybrid")
    assert answer["results"][0]["id"] == "red-bicycle"
    assert answer["results"][0]["text_score"] > 0


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"type": "mixed", "content": "red"}, "query.content"),
        ({"type": "mixed", "content": [1.0, 2.0]}, "query.content"),
        ({"type": "mixed", "content": []}, "query.content"),
        ({"type": "text", "content": [{"type": "text", "content": "red"}]}, "query.content"),
        ({"type": "vector", "content": [{"type": "text", "content": "red"}]}, "query.content"),
        (mixed(("document", "red")), "query.content[0].type"),
        (mixed(("text", "")), "query.content[0].content"),
        (mixed(("text", "red"), ("image", "nonsense")), "query.content[1].content"),
        ({**mixed(("text", "red")), "space": "default"}, "query.space"),
        (mixed(*[("image", "file-" + "0" * 32)] * 5), "query"),
    ],
)
async def test_mixed_queries_that_cannot_be(http, query, param):
    answer = await http.post("/v1/search", json={"query": query})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_a_search_for_words_takes_no_mixed_items(http):
    answer = await http.post("/v1/search", json={"query": mixed(("text", "red")), "mode": "text"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "query.type")


DOCUMENTS = "/v1/collections/default/documents"


async def store(http, name: str, content: bytes) -> str:
    return (await http.post("/v1/media", files={"file": (name, content)})).json()["id"]


async def add(http, path: str = DOCUMENTS, **document: object) -> dict:
    answer = await http.post(path, json=document)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_medium_and_a_text_become_one_part(http):
    media_id = await store(http, "b.png", fake_png({"bicycle": 0.9}, ("SALE",)))
    answer = await add(http, media_id=media_id, text="red and fast", id="mine", metadata={"price": 90})
    assert answer == {
        "id": "mine",
        "object": "document",
        "collection": "default",
        "parts": 1,
        "version": answer["version"],
        "weights": {"text": 0.5, "image": 0.5},
    }
    shown = (await http.get(f"{DOCUMENTS}/mine", params={"include": ["metadata", "vector"]})).json()
    (part,) = shown["parts"]
    expected = unit(fake_embedding("red and fast"), fake_embedding("bicycle"))
    np.testing.assert_allclose(part["vector"], expected, atol=1e-6)
    assert (shown["type"], shown["media_id"], shown["metadata"]["price"]) == ("image", media_id, 90)
    assert set(shown["metadata"]) == {"price", "uploaded_at", "resolution"}
    url = picture(bicycle=0.9)["image_url"]["url"]
    (hit,) = (await search(http, mixed(("image", url), ("text", "red and fast"))))["results"]
    assert (hit["id"], hit["type"], hit["text"]) == ("mine", "image", "red and fast")
    assert hit["similarity_score"] == pytest.approx(1.0, abs=1e-5)
    assert "written_characters" not in hit["metadata"]
    for words in ("fast", "bicycle", "sale"):
        found = (await search(http, {"type": "text", "content": words}, mode="text"))["results"]
        assert [one["id"] for one in found] == ["mine"], words


async def test_other_documents_are_answered_as_before(http):
    media_id = await store(http, "b.png", fake_png({"bicycle": 0.9}))
    assert set(await add(http, media_id=media_id)) == {"id", "object", "collection", "parts", "version"}
    (hit,) = (await search(http, {"type": "text", "content": "bicycle"}))["results"]
    assert "text" not in hit


async def test_videos_and_sound_with_a_text(http):
    video = await store(http, "v.mp4", fake_mp4([{"sea": 0.9}, {"sun": 0.9}], (0.0, 1.0, "what waves")))
    answer = await add(http, media_id=video, text="our holiday")
    assert (answer["parts"], answer["weights"]) == (1, {"text": 0.5, "video": 0.5})
    (hit,) = (await search(http, {"type": "text", "content": "waves"}, mode="text"))["results"]
    assert (hit["type"], hit["text"], hit["matched_frames"], hit["matched_segments"]) == (
        "video",
        "our holiday",
        [],
        [],
    )
    speech = await store(http, "s.wav", fake_wav((0.0, 1.0, "good morning")))
    answer = await add(http, media_id=speech, text="greeting", id="speech")
    assert answer["weights"] == {"text": 0.5, "audio": 0.5}
    silence = await store(http, "q.wav", fake_wav())
    refused = await http.post(DOCUMENTS, json={"media_id": silence, "text": "nothing"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "media_id")


async def test_of_long_texts_all_passages_count(http):
    media_id = await store(http, "b.png", fake_png({"bicycle": 0.9}))
    text = "alpha " * 150 + "omega " * 150
    await add(http, media_id=media_id, text=text, id="long")
    shown = (await http.get(f"{DOCUMENTS}/long", params={"include": "vector"})).json()
    both = unit(fake_embedding("alpha"), fake_embedding("omega"))
    expected = unit(both, fake_embedding("bicycle"))
    np.testing.assert_allclose(shown["parts"][0]["vector"], expected, atol=1e-5)


async def test_a_vector_of_ones_own_stands_for_both(http, platform):
    media_id = await store(http, "b.png", fake_png({"bicycle": 0.9}))
    vector = fake_embedding("own").tolist()
    answer = await add(http, media_id=media_id, text="red", vectors={"default": vector})
    assert "weights" not in answer
    assert "embed_texts" not in platform.perception.calls
    (hit,) = (await search(http, {"type": "vector", "content": vector}))["results"]
    assert (hit["similarity_score"], hit["text"]) == (pytest.approx(1.0, abs=1e-5), "red")


async def test_documents_of_both_that_cannot_be(http):
    media_id = await store(http, "b.png", fake_png({"bicycle": 0.9}))
    for document, status, param in (
        ({"media_id": media_id, "text": " "}, 400, "text"),
        ({"media_id": media_id, "text": "x" * 2001}, 400, "text"),
        ({"media_id": "file-" + "0" * 32, "text": "x"}, 404, None),
        (
            {"media_id": media_id, "text": "x", "metadata": {"written_characters": 1}},
            400,
            "metadata.written_characters",
        ),
        ({"media_id": media_id, "text": "x", "modality": "image"}, 400, "modality"),
    ):
        answer = await http.post(DOCUMENTS, json=document)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


async def test_its_medium_takes_it_along(http):
    media_id = await store(http, "b.png", fake_png({"bicycle": 0.9}))
    await add(http, media_id=media_id, text="red", id="one")
    assert (await http.delete(f"/v1/files/{media_id}")).status_code == 200
    assert (await search(http, {"type": "text", "content": "red"}))["results"] == []


async def test_it_is_encoded_anew_as_both(http, platform):
    media_id = await store(http, "b.png", fake_png({"bicycle": 0.9}))
    await add(http, media_id=media_id, text="red\nand fast", id="one", metadata={"price": 90})
    before = (await http.get(f"{DOCUMENTS}/one", params={"include": ["metadata", "vector"]})).json()
    job = {"collection": "new", "reembed": {"source": "default"}}
    assert (await http.post("/v1/ingest", json=job)).status_code == 200
    await platform.gateway.ingest.runner.idle()
    path = "/v1/collections/new/documents/one"
    after = (await http.get(path, params={"include": ["metadata", "vector"]})).json()
    assert after["parts"] == before["parts"]
    assert after["metadata"] == before["metadata"]
    await platform.gateway.ingest.runner.aclose()
