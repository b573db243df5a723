"""Embeddings through the official client."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import openai
import pytest
from fake_platform import build_platform, http_client, openai_client
from fake_services import fake_embedding, fake_mp4, fake_png, fake_wav
from openai_spec import openai_spec
from tiny_text_models import word_tokenizer

MODEL = "all-minilm-l6-v2"


async def test_one_and_many_as_base64_and_numbers(client):
    texts = ["a red house", "a blue car"]
    # The official client asks for base64 and decodes it, unless told otherwise.
    as_base64 = await client.embeddings.create(model=MODEL, input=texts)
    as_numbers = await client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    for answer in (as_base64, as_numbers):
        assert answer.model == MODEL
        assert [item.index for item in answer.data] == [0, 1]
        for item, text in zip(answer.data, texts, strict=True):
            np.testing.assert_array_equal(np.asarray(item.embedding, np.float32), fake_embedding(text))
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == 6
    one = await client.embeddings.create(model=MODEL, input="a red house", dimensions=384, user="u")
    assert len(one.data) == 1


async def test_fewer_dimensions_of_models_trained_for_it(tmp_path, config):
    spec = replace(config.text_model, extra={**config.text_model.extra, "smallest_dimensions": 64})
    async with http_client(build_platform(tmp_path, replace(config, text_model=spec))) as http:
        text = "a red house and a blue car by the green sea"
        body = {"model": MODEL, "input": [text], "dimensions": 128}
        vector = np.array((await http.post("/v1/embeddings", json=body)).json()["data"][0]["embedding"])
        kept = fake_embedding(text)[:128]
        np.testing.assert_allclose(vector, kept / np.linalg.norm(kept), atol=1e-6)
        refused = await http.post("/v1/embeddings", json={**body, "dimensions": 63})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "dimensions")
        assert "64 to 384" in refused.json()["error"]["message"]


async def test_texts_read_in_pieces_are_named(platform, http):
    platform.perception.pieces = {"long": 3}
    for _ in range(2):  # the second time from the cache
        answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": ["short", "long", "brief"]})
        assert answer.json()["manymodal"] == {"pieces": {"1": 3}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x", " "]}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": ["x"] * 9}, "input"),
        ({"input": {"text": "x"}}, "input"),
        ({"input": "x", "dimensions": 128}, "dimensions"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "extra_body": {"truncate_prompt_tokens": 5}}, "truncate_prompt_tokens"),
    ],
)
async def test_refusals(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        await client.embeddings.create(model=MODEL, **fields)
    assert refused.value.param == param


async def test_an_animation_is_a_video_by_url_and_by_id_and_a_picture_where_one_is_asked_for(http):
    moving = fake_png({"cat": 0.9}, frames=[{"dog": 0.9}])
    url = f"data:image/png;base64,{base64.b64encode(moving).decode()}"
    upload = {"file": ("a.png", moving, "image/png")}
    stored = (await http.post("/v1/files", files=upload, data={"purpose": "user_data"})).json()["id"]
    for kind, source, seen in (
        ("video_url", url, "dog"),
        ("video_url", stored, "dog"),
        ("image_url", url, "cat"),
        ("image_url", stored, "cat"),
    ):
        part = {"type": kind, kind: {"url": source}}
        answer = (await http.post("/v1/embeddings", json={"model": MODEL, "input": [part]})).json()
        np.testing.assert_allclose(answer["data"][0]["embedding"], fake_embedding(seen), atol=1e-6)
    still = base64.b64encode(fake_png()).decode()
    part = {"type": "video_url", "video_url": {"url": f"data:image/png;base64,{still}"}}
    refused = await http.post("/v1/embeddings", json={"model": MODEL, "input": [part]})
    assert refused.json()["error"]["code"] == "media_kind_mismatch"


async def test_media_have_vectors_among_those_of_texts(client, http):
    photo, sound, video = fake_png({"cat": 0.9}), fake_wav((0, 2, "a blue car")), fake_mp4([{"dog": 0.9}])
    file = await client.files.create(file=("cat.png", photo), purpose="vision")
    urls = [
        f"data:{kind};base64,{base64.b64encode(data).decode()}"
        for kind, data in (("audio/wav", sound), ("video/mp4", video))
    ]
    parts = [
        "a red house",
        {"type": "file", "file": {"file_id": file.id}},
        {"type": "text", "text": "a blue car"},
        {"type": "audio_url", "audio_url": {"url": urls[0]}},
        {"type": "image_url", "image_url": {"url": file.id}},
        {"type": "video_url", "video_url": {"url": urls[1]}},
    ]
    answer = (await http.post("/v1/embeddings", json={"model": MODEL, "input": parts})).json()
    vectors = [np.asarray(item["embedding"], np.float32) for item in answer["data"]]
    assert len(vectors) == len(parts)
    np.testing.assert_array_equal(vectors[0], fake_embedding("a red house"))
    np.testing.assert_array_equal(vectors[1], vectors[4])
    np.testing.assert_array_equal(vectors[2], vectors[3])
    assert all(abs(float(np.linalg.norm(vector)) - 1) < 1e-5 for vector in vectors)
    assert answer["usage"]["prompt_tokens"] == 6
    assert [medium["kind"] for medium in answer["manymodal"]["media"]] == ["image", "audio", "image", "video"]


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([{"type": "file", "file": {"file_id": "file-" + "0" * 32}}], None),
        ([{"type": "file", "file": {}}], "input[0].file"),
        (["x", {"type": "image_url", "image_url": {"url": "nonsense"}}], "input[1].image_url.url"),
        ([{"type": "smell"}], "input[0]"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}] * 5, "input"),
    ],
)
async def test_refused_media(http, parts, param):
    answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": parts})
    assert answer.status_code == (404 if param is None else 400)
    assert answer.json()["error"]["param"] == param


@pytest.fixture
async def token_http(tmp_path, config):
    """A platform whose text model's tokenizer knows the words "a red house" as 4, 5 and 6."""
    file = word_tokenizer(tmp_path / "tokenizer.json", ["a", "red", "house", "blue"])
    async with http_client(build_platform(tmp_path, replace(config, text_tokenizer_file=file))) as http:
        yield http


async def test_token_arrays_have_the_vectors_of_their_texts(token_http):
    async with openai_client(token_http) as client:
        whole = await client.embeddings.create(model=MODEL, input=[4, 5, 6])
        several = await client.embeddings.create(model=MODEL, input=[[4, 5, 6], [2, 4, 7, 6, 3]])
    vectors = [np.asarray(one.embedding, np.float32) for one in (*whole.data, *several.data)]
    for vector, text in zip(vectors, ("a red house", "a red house", "a blue house"), strict=True):
        np.testing.assert_array_equal(vector, fake_embedding(text))
    assert several.usage.prompt_tokens == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([4, 8], "token 8 in 'input' (array 0) is none of the 8"),
        ([[4], [4, -1]], "(array 1)"),
        ([2**70], "none of the 8"),
        ([2, 3], "stand for no text"),
        ([[4]] * 9, "at most 8"),
        ([[4], []], "input"),
        ([4, "a"], "input"),
        ([4, 5.5], "input"),
        ([True], "input"),
        ([[4], "a"], "input"),
    ],
)
async def test_wrong_token_arrays_are_refused(token_http, given, said):
    answer = await token_http.post("/v1/embeddings", json={"model": MODEL, "input": given})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert said in error["message"] + str(error["param"])
    assert (
        await token_http.post("/v1/embeddings", json={"model": MODEL, "input": [[4]] * 8})
    ).status_code == 200


async def test_answers_are_openais(token_http):
    for given in ("a", ["a", "b"], [4], [[4], [5]]):
        for form in ("float", "base64"):
            body = {"model": MODEL, "input": given, "encoding_format": form}
            answer = (await token_http.post("/v1/embeddings", json=body)).json()
            if form == "base64":  # OpenAI's document knows numbers only
                for one in answer["data"]:
                    one["embedding"] = np.frombuffer(base64.b64decode(one["embedding"]), "<f4").tolist()
            assert openai_spec().problems("CreateEmbeddingResponse", answer) == []
            assert openai_spec().unknown("CreateEmbeddingResponse", answer) == set()


async def test_text_and_media_by_id_and_data_url_in_one_call(platform, http):
    picture = fake_png({"cat": 0.9})
    stored = (await http.post("/v1/media", files={"file": ("a.png", picture)})).json()["id"]
    inline = "data:image/png;base64," + base64.b64encode(picture).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in (stored, inline)]
    answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": ["cat", *parts]})
    vectors = [one["embedding"] for one in answer.json()["data"]]
    assert vectors[0] == vectors[1] == vectors[2]
    assert platform.perception.calls["encode_image"] == 1
