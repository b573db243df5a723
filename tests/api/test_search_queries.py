"""Searching by documents, vectors, words, several things at once; and what of a hit is shown."""

from __future__ import annotations

import base64

import httpx
import numpy as np
import pytest
from fake_platform import build_platform, http_client
from fake_services import fake_embedding, fake_mp4, fake_png
from search_requests import document, found_ids, index, text, upload, vector
from search_requests import found as search

from storage.s3.store import S3ObjectStore

TEXTS = {
    "a": "red boats on a lake",
    "b": "red boats in a harbour",
    "c": "a garden with roses",
    "d": "stock prices fell",
}


@pytest.fixture
async def texts(http) -> None:
    for number, (name, content) in enumerate(TEXTS.items()):
        await index(http, text=content, id=name, metadata={"price": number, "tag": f"t{number % 2}"})


async def ids(http, query: object, **options) -> list[str]:
    return await found_ids(http, query, **options)


async def whole(http, query: object, **options) -> list[dict]:
    return (await search(http, query, **options))["results"]


@pytest.mark.usefixtures("texts")
async def test_by_a_document(http):
    assert (await ids(http, document("a")))[0] == "b"
    assert "a" not in await ids(http, document("a"))
    found = await whole(http, document("a", include_itself=True), top_k=1)
    assert (found[0]["id"], found[0]["similarity_score"]) == ("a", pytest.approx(1, abs=1e-5))
    both = await ids(http, [document("a"), document("c", include_itself=True)])
    assert both[0] == "c"
    assert "a" not in both
    missing = await http.post("/v1/search", json={"query": document("nobody")})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "document_not_found")


async def test_by_a_video_in_the_collection(http):
    film = await upload(http, fake_mp4([{"boat": 0.9}, {"cat": 0.8}]))
    await index(http, media_id=film, id="film")
    await index(http, text="boat", id="boat")
    await index(http, text="tree", id="tree")
    found = await whole(http, document("film"))
    assert found[0]["id"] == "boat"
    assert found[0]["similarity_score"] == pytest.approx(0.5**0.5, abs=1e-4)  # the mean of two frames


@pytest.mark.usefixtures("texts")
async def test_by_numbers(http):
    found = await whole(http, vector("a garden with roses"), top_k=1)
    assert (found[0]["id"], found[0]["similarity_score"]) == ("c", pytest.approx(1, abs=1e-5))
    # Of any length but 0, and whole numbers as well.
    scaled = {"type": "vector", "content": [1e30 * float(x) for x in fake_embedding("a garden with roses")]}
    assert await ids(http, scaled, top_k=1) == ["c"]
    whole_numbers = {"type": "vector", "content": [1] * 384}
    assert len(await ids(http, whole_numbers)) == 4
    short = await http.post("/v1/search", json={"query": {"type": "vector", "content": [1.0, 2.0]}})
    assert (short.status_code, short.json()["error"]["code"]) == (400, "dimension_mismatch")
    mixed = await http.post("/v1/search", json={"query": [text("x"), {"type": "vector", "content": [1.0]}]})
    assert (mixed.status_code, mixed.json()["error"]["code"]) == (400, "dimension_mismatch")
    unknown = {"type": "vector", "content": [1.0], "space": "nowhere"}
    answer = await http.post("/v1/search", json={"query": unknown})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_query")


@pytest.mark.usefixtures("texts")
async def test_away_from_something(http):
    near = await whole(http, [text("red boats"), text("harbour", weight=-1)])
    assert near[0]["id"] == "a"
    far = await ids(http, text("red boats on a lake", weight=-1))
    assert far[-1] == "a"


@pytest.mark.usefixtures("texts")
async def test_by_words(http):
    answer = (await http.post("/v1/search", json={"query": text("harbour roses"), "mode": "text"})).json()
    assert {hit["id"] for hit in answer["results"]} == {"b", "c"}
    assert answer["score"]["kind"] == "bm25"
    assert all(hit["similarity_score"] > 0 for hit in answer["results"])
    several = [text("harbour"), text("roses", weight=-1)]
    assert await ids(http, several, mode="text") == ["b"]
    assert await ids(http, text("harbour"), mode="text", filters={"price": {"lt": 1}}) == []
    assert await ids(http, text("nowhere"), mode="text") == []


@pytest.mark.usefixtures("texts")
async def test_by_words_and_meaning(http):
    body = {"query": text("roses"), "mode": "hybrid"}
    answer = (await http.post("/v1/search", json=body)).json()
    first = answer["results"][0]
    assert first["id"] == "c"
    assert answer["score"]["kind"] == "reciprocal_rank"
    assert first["similarity_score"] == pytest.approx(2 / 61)
    assert first["vector_score"] == pytest.approx(0.5, abs=1e-5)
    assert first["text_score"] > 0
    assert answer["results"][1].get("text_score") is None
    wanted = {**body, "rank_constant": 1, "weights": {"vector": 0.5, "text": 2}}
    answer = (await http.post("/v1/search", json=wanted)).json()
    assert answer["results"][0]["similarity_score"] == pytest.approx(0.5 / 2 + 2 / 2)
    # The words of one item, the vectors of all.
    mixed = [text("roses"), {"type": "document", "content": "a"}]
    assert set((await ids(http, mixed, mode="hybrid"))[:2]) == {"c", "b"}


async def test_words_of_what_is_said_and_read(http):
    photo = await upload(http, fake_png({"cat": 0.9}, ("Platform NINE",)))
    film = await upload(http, fake_mp4([{"boat": 0.9}], (1.0, 2.5, "rockets fly")))
    await index(http, media_id=photo)
    await index(http, media_id=film)
    assert await ids(http, text("nine"), mode="text") == [photo]
    (hit,) = await whole(http, text("rockets"), mode="text")
    assert hit["id"] == film
    assert hit["matched_segments"][0]["start_seconds"] == 1.0
    assert hit["matched_frames"] == []


async def test_ordering_anew_by_every_item(http):
    """One document is near to the mean of both, another holds both."""
    film = await upload(http, fake_mp4([{"boat": 0.9}, {"cat": 0.8}]))
    await index(http, media_id=film, id="film")
    await index(http, text="boat cat tree", id="mix")
    query = [text("boat"), text("cat")]
    assert await ids(http, query) == ["mix", "film"]
    answer = (await http.post("/v1/search", json={"query": query, "rerank": {}})).json()
    assert [hit["id"] for hit in answer["results"]] == ["film", "mix"]
    assert answer["score"]["kind"] == "reranked"
    first, second = (hit["similarity_score"] for hit in answer["results"])
    assert first == pytest.approx(1, abs=1e-5)
    assert second == pytest.approx(3**-0.5, abs=1e-5)
    # The first ``count`` only, and page by page.
    body = {"query": query, "rerank": {"count": 1}, "top_k": 1}
    page = (await http.post("/v1/search", json=body)).json()
    assert [hit["id"] for hit in page["results"]] == ["mix"]
    assert page["next_cursor"] is None
    body = {"query": query, "rerank": {"count": 2}, "top_k": 1}
    page = (await http.post("/v1/search", json=body)).json()
    assert [hit["id"] for hit in page["results"]] == ["film"]
    page = (await http.post("/v1/search", json={**body, "cursor": page["next_cursor"]})).json()
    assert [hit["id"] for hit in page["results"]] == ["mix"]
    assert (page["has_more"], page["next_cursor"]) == (False, None)


async def test_thresholds_by_modality(http):
    photo = await upload(http, fake_png({"red": 0.9, "boat": 0.5}))
    await index(http, media_id=photo)
    await index(http, text="red boat", id="t")
    await index(http, text="red house", id="h")
    assert len(await ids(http, text("red boat"))) == 3
    assert set(await ids(http, text("red boat"), score_threshold=0.9)) == {photo, "t"}
    assert set(await ids(http, text("red boat"), score_threshold={"text": 0.9})) == {photo, "t"}
    assert set(await ids(http, text("red"), score_threshold={"image": 0.9})) == {"t", "h"}
    assert await ids(http, text("red"), score_threshold={"image": 0.9, "text": 0.9}) == []
    assert set(await ids(http, text("red"), score_threshold={})) == {photo, "t", "h"}
    assert len(await ids(http, text("red"), score_threshold=-1)) == 3


@pytest.mark.usefixtures("texts")
async def test_filters_on_any_metadata(http):
    async def found(filters: dict) -> set[str]:
        return set(await ids(http, text("red"), filters=filters))

    assert await found({"price": {"gte": 1, "lt": 3}}) == {"b", "c"}
    assert await found({"price": 2}) == await found({"price": 2.0}) == {"c"}
    assert await found({"tag": {"in": ["t1", "x"]}}) == {"b", "d"}
    assert await found({"tag": {"in": []}}) == set()
    assert await found({"tag": {"ne": "t1"}}) == {"a", "c"}
    assert await found({"missing": {"exists": False}}) == set(TEXTS)
    assert await found({"missing": {"exists": True}}) == set()
    assert await found({"or": [{"price": 0}, {"price": {"gt": 2}}]}) == {"a", "d"}
    assert await found({"and": [{"tag": "t0"}, {"not": {"price": 0}}]}) == {"c"}
    assert await found({"not": {"or": [{"price": 0}, {"tag": "t1"}]}}) == {"c"}
    assert await found({"uploaded_at": {"gt": "2020"}, "date_range": "last_1_hour"}) == set(TEXTS)
    assert await found({"price": {"gte": "1"}}) == set()
    assert await found({"price": {"gte": -(2**63), "lte": 2**63 - 1}}) == set(TEXTS)


async def test_what_is_shown_of_hits(http):
    film = await upload(http, fake_mp4([{"boat": 0.9}], (0.0, 1.0, "ahoy")))
    await index(http, media_id=film, metadata={"a": 1})
    await index(http, text="boat", id="t")

    async def shown(*include: str) -> tuple[dict, dict]:
        found = {hit["id"]: hit for hit in await whole(http, text("boat"), include=list(include))}
        return found[film], found["t"]

    always = {"id", "type", "media_id", "similarity_score"}
    video, note = await shown()
    assert set(note) == always
    assert set(video) == always | {"matched_frames", "matched_frame_times", "matched_segments"}
    for name in ("metadata", "url", "matches", "vector"):
        video, note = await shown(name)
        assert set(note) == always | {name}
    video, note = await shown("text")
    assert note["text"] == "boat"
    assert "text" not in video
    video, note = await shown("vector", "vector")
    np.testing.assert_allclose(note["vector"], fake_embedding("boat"), atol=1e-6)
    by_default = {hit["id"]: hit for hit in await whole(http, text("boat"))}
    everything = await shown("metadata", "text", "matches", "url")
    assert [one.keys() for one in everything] == [by_default[film].keys(), by_default["t"].keys()]


async def test_links_need_no_key_and_end(http, platform):
    photo = await upload(http, fake_png({"cat": 0.9}))
    await index(http, media_id=photo)
    (hit,) = await whole(http, text("cat"))
    assert hit["url"].startswith("http://localhost/v1/links/")
    assert (await http.get(hit["url"])).content == fake_png({"cat": 0.9})
    clock = platform.storage.links._clock
    platform.storage.links._clock = lambda: clock() + 3599
    assert (await http.get(hit["url"])).status_code == 200
    platform.storage.links._clock = lambda: clock() + 3601
    assert (await http.get(hit["url"])).status_code == 404


async def test_links_of_the_store_where_it_has_some(s3_server, tmp_path, config):
    store = S3ObjectStore(s3_server.config)
    async with http_client(build_platform(tmp_path, config, store)) as http:
        photo = await upload(http, fake_png({"cat": 0.9}))
        await index(http, media_id=photo)
        (hit,) = await whole(http, text("cat"))
        assert "X-Amz-Expires" in hit["url"]
        async with httpx.AsyncClient() as outsider:
            assert (await outsider.get(hit["url"])).content == fake_png({"cat": 0.9})
        (again,) = await whole(http, text("cat"))
        assert again["url"] == hit["url"]
        await http.delete(f"/v1/media/{photo}")
        assert await whole(http, text("cat")) == []


async def test_vectors_of_ones_own(http):
    spaces = [{"name": "clip", "dimensions": 3, "model": "clip@1"}]
    made = await http.post("/v1/collections", json={"name": "own", "spaces": spaces})
    assert made.status_code == 200, made.text
    documents = "/v1/collections/own/documents"
    for name, numbers in (("x", [1, 0, 0]), ("y", [0, 2, 0])):
        body = {"text": f"text {name}", "id": name, "vectors": {"clip": numbers}}
        assert (await http.post(documents, json=body)).status_code == 200
    await http.post(documents, json={"text": "has none there", "id": "none"})
    query = {"type": "vector", "content": [1, 0.1, 0], "space": "clip"}
    found = await whole(http, query, collection="own", include=["vector"])
    assert [hit["id"] for hit in found] == ["x", "y"]
    assert found[0]["vector"] == [1, 0, 0]
    assert await ids(http, document("x", space="clip"), collection="own") == ["y"]
    assert (await ids(http, text("text x"), collection="own"))[0] == "x"
    none = {"query": document("none", space="clip"), "collection": "own"}
    answer = await http.post("/v1/search", json=none)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "query.content")
    mixed = [query, document("x")]
    answer = await http.post("/v1/search", json={"query": mixed, "collection": "own"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "query[1].space")
    wrong = await http.post(documents, json={"text": "x", "vectors": {"clip": [1.0]}})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "dimension_mismatch")
    assert (await ids(http, query, collection="own", mode="vector", rerank={}))[0] == "x"


async def test_documents_of_vectors_alone(http, platform):
    spaces = [{"name": "default", "dimensions": 2}]
    made = await http.post("/v1/collections", json={"name": "bare", "spaces": spaces})
    assert made.json()["spaces"] == [{"name": "default", "dimensions": 2, "model": ""}]
    documents = "/v1/collections/bare/documents"
    photo = await upload(http, fake_png({"cat": 0.9}))
    perceived = dict(platform.perception.calls)
    bodies = [
        {"id": "a", "vectors": {"default": [1, 0]}, "modality": "video", "metadata": {"n": 1}},
        {"id": "b", "vectors": {"default": [0, 1]}, "text": "long " * 300},
        {"id": "c", "vectors": {"default": [1, 1]}, "media_id": photo},
        {"id": "d", "vectors": {"default": [-1, 0]}},
    ]
    for body in bodies:
        answer = await http.post(documents, json=body)
        assert (answer.status_code, answer.json().get("parts")) == (200, 1), answer.text
    found = await whole(http, {"type": "vector", "content": [1, 0]}, collection="bare")
    assert [(hit["id"], hit["type"]) for hit in found] == [
        ("a", "video"),
        ("c", "image"),
        ("b", "text"),
        ("d", "text"),
    ]
    assert found[0]["matched_frames"] == found[0]["matched_segments"] == []
    assert found[1]["metadata"]["resolution"] == "640x480"
    assert (await http.get(found[1]["url"])).content == fake_png({"cat": 0.9})
    assert {**platform.perception.calls, "probe": 0} == {**perceived, "probe": 0}  # nothing was looked at
    refused = await http.post("/v1/search", json={"query": text("cat"), "collection": "bare"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "dimension_mismatch")


async def test_a_medium_is_found_by_its_data_too(http):
    await index(http, text="cat", id="t")
    data = base64.b64encode(fake_png({"cat": 0.9})).decode()
    query = [
        {"type": "image", "content": f"data:image/png;base64,{data}", "weight": 2},
        vector("dog", weight=-1),
    ]
    assert await ids(http, query) == ["t"]
