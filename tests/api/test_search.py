"""Indexing and searching across modalities, over the real search engine."""

from __future__ import annotations

import base64

import pytest
from fake_services import fake_mp4, fake_png, fake_wav
from search_requests import DOCUMENTS, found, index, text, upload


async def search(http, query: object, **options) -> list[dict]:
    answer = await found(http, query, **options)
    items = query if isinstance(query, list) else [query]
    by_media = any(item["type"] != "text" for item in items)
    fields = {"results", "score", "version", "has_more", "next_cursor"}
    assert set(answer) == (fields | {"manymodal"} if by_media else fields)
    assert answer["score"]["kind"] == "cosine"
    return answer["results"]


@pytest.fixture
async def library(http) -> dict[str, str]:
    """A photo of a cat, one of a boat, a film with both and speech, a talk, and a note."""
    ids = {
        "cat": await upload(http, fake_png({"cat": 0.9})),
        "boat": await upload(http, fake_png({"boat": 0.9})),
        "film": await upload(
            http, fake_mp4([{"boat": 0.9}, {"cat": 0.8}, {"tree": 0.7}], (1.0, 2.5, "rockets fly"))
        ),
        "talk": await upload(http, fake_wav((0.0, 2.0, "good morning"), (2.0, 4.0, "about economics"))),
    }
    for number, media_id in enumerate(ids.values()):
        await index(http, media_id=media_id, metadata={"user_id": f"user-{number % 2}"})
    ids["note"] = (await index(http, text="A note on gardens.", id="note-1"))["id"]
    return ids


async def test_photo_by_sentence_and_sentence_by_photo(http, library):
    results = await search(http, text("cat"), search_modalities=["image"], top_k=2)
    assert results[0]["id"] == library["cat"]
    assert results[0]["type"] == "image"
    assert results[0]["media_id"] == library["cat"]
    assert (await http.get(results[0]["url"])).content == fake_png({"cat": 0.9})
    assert results[0]["similarity_score"] == pytest.approx(1.0, abs=1e-5)
    assert results[0]["metadata"]["resolution"] == "640x480"
    assert results[0]["metadata"]["user_id"] == "user-0"
    assert results[0]["metadata"]["uploaded_at"]
    await index(http, text="boat", id="t")
    by_photo = await search(http, {"type": "image", "content": library["boat"]}, search_modalities=["text"])
    assert by_photo[0]["id"] == "t"
    assert by_photo[0]["text"] == "boat"


async def test_moment_in_a_video(http, library):
    results = await search(http, text("cat"), search_modalities=["video"], score_threshold=0.9)
    assert [result["id"] for result in results] == [library["film"]]
    assert results[0]["matched_frames"] == [1]
    assert results[0]["matched_frame_times"] == [1.0]
    assert results[0]["matched_segments"] == []
    match = results[0]["matches"][0]
    assert (match["start_seconds"], match["end_seconds"]) == (1.0, 2.0)
    assert results[0]["metadata"]["duration"] == 3.0
    spoken = await search(http, text("rockets fly"), search_modalities=["video"], score_threshold=0.9)
    assert spoken[0]["matched_frames"] == spoken[0]["matched_frame_times"] == []
    (segment,) = spoken[0]["matched_segments"]
    assert (segment["start_seconds"], segment["end_seconds"], segment["text"]) == (1.0, 2.5, "rockets fly")
    assert segment["score"] == pytest.approx(spoken[0]["similarity_score"])
    assert spoken[0]["matches"][0]["text"] == "rockets fly"
    assert spoken[0]["matches"][0]["start_seconds"] == 1.0


async def test_sound_by_what_is_said(http, library):
    results = await search(http, text("economics"), search_modalities=["audio", "text"], top_k=1)
    assert results[0]["id"] == library["talk"]
    assert results[0]["matches"][0]["start_seconds"] == 2.0
    assert results[0]["matched_segments"][0]["start_seconds"] == 2.0
    wav = base64.b64encode(fake_wav((0.0, 1.0, "about economics"))).decode()
    by_sound = await search(http, {"type": "audio", "content": f"data:audio/wav;base64,{wav}"}, top_k=1)
    assert by_sound[0]["id"] == library["talk"]


async def test_weighted_queries(http, library):
    both = [text("cat", weight=0.9), text("boat", weight=0.1)]
    assert (await search(http, both, search_modalities=["image"]))[0]["id"] == library["cat"]
    both = [text("cat", weight=0.1), {"type": "image", "content": library["boat"], "weight": 0.9}]
    assert (await search(http, both, search_modalities=["image"]))[0]["id"] == library["boat"]


async def test_filters(http, library):
    found = await search(http, text("cat"), filters={"user_id": "user-0"}, top_k=100)
    assert {result["id"] for result in found} == {library["cat"], library["film"]}
    assert await search(http, text("cat"), filters={"user_id": "nobody"}) == []
    recent = await search(http, text("cat"), filters={"date_range": "last_30_days"}, top_k=100)
    assert len(recent) == 5
    assert await search(http, text("cat"), filters={"date_range": {"to": "2020-01-01"}}, top_k=2) == []
    assert await search(http, text("cat"), filters={"date_range": {"from": "2999-01-01"}}) == []
    both = {"date_range": {"from": "2020-01-01", "to": "2999-01-01T00:00:00Z"}}
    assert len(await search(http, text("cat"), filters=both, top_k=3)) == 3


async def test_versions_replacement_and_deletion(http, library):
    written = await index(http, text="dragons", id="note-1")
    assert written == {
        "id": "note-1",
        "object": "document",
        "collection": "default",
        "parts": 1,
        "version": written["version"],
    }
    found = await search(http, text("dragons"), top_k=1, min_version=written["version"])
    assert found[0]["id"] == "note-1"
    deleted = (await http.delete(f"{DOCUMENTS}/note-1")).json()
    assert deleted["deleted"] is True
    found = await search(http, text("dragons"), search_modalities=["text"], min_version=deleted["version"])
    assert found == []


async def test_long_texts_are_found_by_their_end(http):
    words = " ".join(f"word{n}." for n in range(190)) + " The treasure lies under the oak."
    document = await index(http, text=words)
    assert document["parts"] > 1
    found = await search(http, text("treasure under the oak"), top_k=1)
    assert "treasure" in found[0]["matches"][0]["text"]


async def test_empty_and_missing_collections(http):
    assert await search(http, text("anything")) == []
    answer = await http.post("/v1/search", json={"query": text("x"), "collection": "missing"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "collection_not_found"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "query"),
        ({"query": "cat"}, "query"),
        ({"query": []}, "query"),
        ({"query": {"type": "smell", "content": "x"}}, "query.type"),
        ({"query": {"type": "text"}}, "query.content"),
        ({"query": text("x", weight=0)}, "query.weight"),
        ({"query": [text("x"), {"type": "image", "content": "nonsense"}]}, "query[1].content"),
        ({"query": {"type": "image", "content": "data:image/png;base64,AAAA"}}, "query.content"),
        ({"query": text("x"), "top_k": 0}, "top_k"),
        ({"query": text("x"), "top_k": 101}, "top_k"),
        ({"query": text("x"), "search_modalities": ["smell"]}, "search_modalities[0]"),
        ({"query": text("x"), "filters": {"date_range": "yesterday"}}, "filters.date_range"),
        ({"query": text("x"), "filters": {"date_range": {"from": "soon"}}}, "filters.date_range.from"),
        ({"query": text("x"), "filters": {"a": {"b": 1}}}, "filters.a.b"),
        ({"query": text("x"), "filters": {"price": {"gte": []}}}, "filters.price.gte"),
        ({"query": text("x"), "score_threshold": 1.01}, "score_threshold"),
        ({"query": text("x"), "score_threshold": {"smell": 0.5}}, "score_threshold.smell"),
        ({"query": text("x"), "score_threshold": {"image": -1.01}}, "score_threshold.image"),
        ({"query": text("x"), "min_version": -1}, "min_version"),
        ({"query": text("x"), "include": ["everything"]}, "include[0]"),
        ({"query": text("x"), "cursor": "x"}, "cursor"),
        ({"query": text("x"), "cursor": ""}, "cursor"),
        ({"query": text("x"), "cursor": "x" * 1025}, "cursor"),
        ({"query": [text("x")] * 17}, "query"),
        ({"query": text("x", weight=1001)}, "query.weight"),
        ({"query": text("x", weight=-1001)}, "query.weight"),
        ({"query": text("x", space="default")}, "query.space"),
        ({"query": text("x", include_itself=True)}, "query.include_itself"),
        ({"query": {"type": "text", "content": [1.0]}}, "query.content"),
        ({"query": {"type": "vector", "content": "x"}}, "query.content"),
        ({"query": {"type": "vector", "content": []}}, "query.content"),
        ({"query": {"type": "vector", "content": [0, 0]}}, "query.content"),
        ({"query": {"type": "vector", "content": [10**400, 0]}}, "query.content"),
        ({"query": {"type": "vector", "content": [True]}}, "query.content[0]"),
        ({"query": {"type": "vector", "content": [0.5] * 16385}}, "query.content"),
        ({"query": {"type": "vector", "content": [1], "space": "../x"}}, "query.space"),
        ({"query": [text("x"), {"type": "vector", "content": [1], "space": "own"}]}, "query[1].space"),
        ({"query": [text("x"), text("x", weight=-1)]}, "query"),
        ({"query": text("x"), "mode": "magic"}, "mode"),
        ({"query": text("x"), "rank_constant": 60}, "rank_constant"),
        ({"query": text("x"), "mode": "text", "weights": {"text": 1}}, "weights"),
        ({"query": text("x"), "mode": "hybrid", "weights": {"text": 0, "vector": 0}}, "weights"),
        ({"query": text("x"), "mode": "hybrid", "weights": {"text": -1}}, "weights.text"),
        ({"query": text("x"), "mode": "hybrid", "rank_constant": 0}, "rank_constant"),
        ({"query": text("x"), "mode": "text", "score_threshold": 0.5}, "score_threshold"),
        ({"query": text("x"), "mode": "text", "rerank": {}}, "rerank"),
        ({"query": [text("x"), {"type": "document", "content": "a"}], "mode": "text"}, "query[1].type"),
        ({"query": {"type": "document", "content": "a"}, "mode": "hybrid"}, "query"),
        ({"query": text(" "), "mode": "text"}, "query"),
        ({"query": text("x", weight=-1), "mode": "text"}, "query"),
        ({"query": [text("word " * 410)] * 2, "mode": "text"}, "query"),
        ({"query": text("x"), "rerank": {"kind": "magic"}}, "rerank.kind"),
        ({"query": text("x"), "rerank": {"count": 101}}, "rerank.count"),
        ({"query": text("x"), "collection": "../x"}, "collection"),
        ({"query": text("x"), "vector": [1]}, "vector"),
        ({"query": text("x", boost=2)}, "query.boost"),
    ],
)
async def test_bad_searches(http, body, param):
    answer = await http.post("/v1/search", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "  "},
        {"text": "x", "id": "../../x"},
        {"text": "x", "metadata": {"frames": 5}},
        {"text": "x", "metadata": {"and": 5}},
        {"text": "x", "metadata": {"date_range": "x"}},
        {"text": "x", "modality": "image"},
        {"text": "x", "vectors": {"default": [0.0] * 384}},
        {"text": "x", "vectors": {"default": [1.0]}},
        {"text": "x", "vectors": {"own": [1.0]}},
        {"vectors": {"own": [1.0]}},
        {"text": "x", "metadata": {"a": [1]}},
        {"text": "x", "metadata": 5},
        {"media_id": 5},
    ],
)
async def test_bad_documents(http, body):
    answer = await http.post(DOCUMENTS, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_bad_collection_names_and_silent_sound(http):
    answer = await http.post("/v1/collections/..%2Fx/documents", json={"text": "x"})
    assert answer.status_code in (400, 404)
    answer = await http.post("/v1/collections/a.b/documents", json={"text": "x"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "collection"
    silent = await upload(http, fake_wav())
    answer = await http.post(DOCUMENTS, json={"media_id": silent})
    assert answer.json()["error"]["code"] == "nothing_to_index"
    answer = await http.post(DOCUMENTS, json={"media_id": "file-" + "0" * 32})
    assert answer.status_code == 404


async def test_the_answer_says_what_was_perceived_of_the_querys_media(client, library):
    wav = base64.b64encode(fake_wav((0.0, 2.0, "about economics"), seconds=2.5)).decode()
    query = [
        text("cat"),
        {"type": "image", "content": library["cat"]},
        {"type": "audio", "content": f"data:audio/wav;base64,{wav}"},
        {"type": "video", "content": library["film"]},
    ]
    answer = await client.post("/search", body={"query": query}, cast_to=object)
    image, audio, video = answer["manymodal"]["media"]
    assert image == {
        "id": library["cat"],
        "kind": "image",
        "labels": [{"text": "cat", "probability": 0.9}],
        "cache": {"labels": "hit"},
    }
    assert audio.pop("id").startswith("file-")
    assert audio == {
        "kind": "audio",
        "seconds_heard": 2.5,
        "transcript_segments": 1,
        "cache": {"transcript": "miss"},
    }
    assert (video["id"], video["kind"], len(video["frames"])) == (library["film"], "video", 3)
    assert video["cache"] == {"frames": "hit"}
