"""Collections, their aliases, documents, look-alikes and clusters."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fake_services import fake_embedding, fake_mp4, fake_png
from search_requests import DOCUMENTS, found_ids, index, text, upload

MODEL = "all-minilm-l6-v2"
COLLECTIONS = "/v1/collections"


async def created(http, name: str, **fields) -> dict:
    answer = await http.post(COLLECTIONS, json={"name": name, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_life(http, config):
    assert (await http.get(COLLECTIONS)).json() == {"object": "list", "data": []}
    made = await created(http, "photos")
    model = f"{MODEL}@{config.text_model.revision}"
    assert made == {
        "name": "photos",
        "object": "collection",
        "spaces": [{"name": "default", "dimensions": 384, "model": made["spaces"][0]["model"]}],
        "index": {"kind": "auto", "storage": "float32", "dimensions": None},
        "version": made["version"],
        "rows": 0,
        "documents": 0,
        "modalities": {},
        "aliases": [],
        "created_at": made["created_at"],
    }
    assert made["spaces"][0]["model"] in ("", model)
    assert await created(http, "photos") == made
    film = await upload(http, fake_mp4([{"boat": 0.9}, {"cat": 0.8}]))
    added = await index(http, f"{COLLECTIONS}/photos/documents", media_id=film)
    await index(http, f"{COLLECTIONS}/photos/documents", text="a note")
    now = (await http.get(f"{COLLECTIONS}/photos")).json()
    assert (now["rows"], now["documents"]) == (3, 2)
    assert now["modalities"] == {"video": 1, "text": 1}
    assert now["version"] >= added["version"] > made["version"]
    await created(http, "another")
    listed = (await http.get(COLLECTIONS)).json()["data"]
    assert [one["name"] for one in listed] == ["another", "photos"]
    assert listed[1] == now
    deleted = await http.delete(f"{COLLECTIONS}/photos")
    assert deleted.json() == {"name": "photos", "object": "collection.deleted", "deleted": True}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/documents")):
        answer = await http.request(method, f"{COLLECTIONS}/photos{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "collection_not_found")
    assert (await http.get(f"/v1/media/{film}")).status_code == 200
    assert (await created(http, "photos"))["documents"] == 0


async def test_settings_of_a_collection(http):
    index_settings = {"kind": "hnsw", "storage": "int8", "dimensions": 128}
    spaces = [{"name": "clip", "dimensions": 512, "model": "clip@1"}]
    made = await created(http, "mine", index=index_settings, spaces=spaces)
    assert made["index"] == index_settings
    assert made["spaces"][1:] == spaces
    assert made["spaces"][0]["name"] == "default"
    assert made["spaces"][0]["model"].startswith(f"{MODEL}@")
    assert await created(http, "mine", index=index_settings, spaces=spaces) == made
    for other in ({"index": {"kind": "flat"}}, {"spaces": [{"name": "clip", "dimensions": 256}]}):
        answer = await http.post(COLLECTIONS, json={"name": "mine", **other})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "collection_exists")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "a" * 65}, "name"),
        ({"name": "../x"}, "name"),
        ({"name": 5}, "name"),
        ({}, "name"),
        ({"name": "a", "size": 1}, "size"),
        ({"name": "a", "spaces": []}, "spaces"),
        ({"name": "a", "spaces": [{"name": f"s{n}", "dimensions": 2} for n in range(9)]}, "spaces"),
        ({"name": "a", "spaces": [{"name": "s", "dimensions": 0}]}, "spaces[0].dimensions"),
        ({"name": "a", "spaces": [{"name": "s", "dimensions": 16385}]}, "spaces[0].dimensions"),
        ({"name": "a", "spaces": [{"name": "s"}]}, "spaces[0].dimensions"),
        ({"name": "a", "spaces": [{"name": "s", "dimensions": 2}] * 2}, "spaces[1].name"),
        ({"name": "a", "spaces": [{"name": "default", "dimensions": 2, "model": "x@1"}]}, "spaces[0].model"),
        ({"name": "a", "spaces": [{"name": "s", "dimensions": 2, "model": "x" * 257}]}, "spaces[0].model"),
        ({"name": "a", "index": {"kind": "magic"}}, "index.kind"),
        ({"name": "a", "index": {"storage": "int4"}}, "index.storage"),
        ({"name": "a", "index": {"dimensions": 0}}, "index.dimensions"),
        ({"name": "a", "index": {"links": 5}}, "index.links"),
    ],
)
async def test_bad_collections(http, fields, param):
    answer = await http.post(COLLECTIONS, json=fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert (await http.get(COLLECTIONS)).json()["data"] == []


async def test_an_alias_switches_at_once(http):
    await index(http, f"{COLLECTIONS}/old/documents", text="red", id="of-old")
    await index(http, f"{COLLECTIONS}/new/documents", text="red", id="of-new")
    answer = await http.put(f"{COLLECTIONS}/old/aliases/live")
    assert answer.json() == {"alias": "live", "object": "collection.alias", "collection": "old"}
    assert await found_ids(http, text("red"), collection="live") == ["of-old"]
    assert (await http.get(f"{COLLECTIONS}/live")).json()["name"] == "old"
    await http.put(f"{COLLECTIONS}/new/aliases/live")
    assert await found_ids(http, text("red"), collection="live") == ["of-new"]
    assert (await http.get(f"{COLLECTIONS}/new")).json()["aliases"] == ["live"]
    assert (await http.get(f"{COLLECTIONS}/old")).json()["aliases"] == []
    wrong = await http.delete(f"{COLLECTIONS}/old/aliases/live")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (404, "collection_not_found")
    gone = await http.delete(f"{COLLECTIONS}/new/aliases/live")
    assert gone.json() == {
        "alias": "live",
        "object": "collection.alias.deleted",
        "collection": "new",
        "deleted": True,
    }
    assert (await http.get(f"{COLLECTIONS}/live")).status_code == 404
    assert await found_ids(http, text("red"), collection="new") == ["of-new"]
    # An alias and a collection cannot have one name.
    taken = await http.put(f"{COLLECTIONS}/old/aliases/new")
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "alias_conflict")
    await http.put(f"{COLLECTIONS}/old/aliases/live")
    taken = await http.post(COLLECTIONS, json={"name": "live"})
    assert taken.status_code == 409
    missing = await http.put(f"{COLLECTIONS}/missing/aliases/x")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "collection_not_found")
    assert (await http.put(f"{COLLECTIONS}/old/aliases/a.b")).json()["error"]["param"] == "alias"


async def test_a_document(http):
    film = await upload(http, fake_mp4([{"boat": 0.9}, {"cat": 0.8}], (0.5, 1.5, "ahoy")))
    await index(http, media_id=film, id="film", metadata={"user_id": "u"})
    shown = (await http.get(f"{DOCUMENTS}/film")).json()
    assert shown.pop("created_at") > 1_700_000_000
    assert (await http.get(shown.pop("url"))).status_code == 200
    assert shown["metadata"].pop("uploaded_at")
    assert shown == {
        "id": "film",
        "object": "document",
        "collection": "default",
        "type": "video",
        "media_id": film,
        "metadata": {"user_id": "u", "resolution": "320x240", "duration": 2.0},
        "parts": [
            {"part_index": 0, "kind": "frame", "start_seconds": 0.0, "end_seconds": 1.0, "text": "boat"},
            {"part_index": 1, "kind": "frame", "start_seconds": 1.0, "end_seconds": 2.0, "text": "cat"},
            {"part_index": 2, "kind": "speech", "start_seconds": 0.5, "end_seconds": 1.5, "text": "ahoy"},
        ],
    }
    answer = (await http.get(f"{DOCUMENTS}/film", params={"include": ["vector"]})).json()
    assert set(answer) == {"id", "object", "collection", "type", "media_id", "created_at", "parts"}
    np.testing.assert_allclose(answer["parts"][1]["vector"], fake_embedding("cat"), atol=1e-6)
    assert answer["parts"][1]["vectors"] == {}
    missing = await http.get(f"{DOCUMENTS}/nobody")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "document_not_found")
    assert (await http.get(f"{DOCUMENTS}/film", params={"include": "all"})).status_code == 400
    await http.delete(f"{DOCUMENTS}/film")
    assert (await http.get(f"{DOCUMENTS}/film")).status_code == 404


async def test_lists_of_documents(http):
    assert (await http.get(DOCUMENTS)).json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    for number in range(5):
        await index(http, text="x", id=f"d{number}", metadata={"n": number})

    async def ids(**params) -> list[str]:
        page = (await http.get(DOCUMENTS, params=params)).json()
        seen = [one["id"] for one in page["data"]]
        assert (page["first_id"], page["last_id"]) == ((seen[0], seen[-1]) if seen else (None, None))
        if page["has_more"]:
            return seen + await ids(**{**params, "after": page["last_id"]})
        return seen

    everything = [f"d{number}" for number in range(5)]
    for limit in (1, 2, 4, 5, 100):
        assert await ids(limit=limit) == everything
    assert await ids(after="d2") == ["d3", "d4"]
    assert await ids(after="d25") == ["d3", "d4"]  # it need not be there any more
    assert await ids(filters=json.dumps({"n": {"gte": 3}}), limit=1) == ["d3", "d4"]
    (one, *_) = (await http.get(DOCUMENTS, params={"include": "metadata"})).json()["data"]
    assert one["metadata"]["n"] == 0
    assert "parts" not in one
    for params, param in (
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"after": "../x"}, "after"),
        ({"filters": "{"}, "filters"),
        ({"filters": "[]"}, "filters"),
        ({"filters": '{"n": {"over": 1}}'}, "filters.n.over"),
        ({"filters": '{"date_range": "last_1_day"}'}, "filters.date_range"),
        ({"filters": " " * 8193}, "filters"),
        ({"include": "all"}, "include[0]"),
    ):
        answer = await http.get(DOCUMENTS, params=params)
        assert answer.status_code == 400, params
        assert answer.json()["error"]["param"] == param, answer.text


async def test_near_duplicates(http):
    photos = [
        fake_png({"cat": 0.9}),
        fake_png({"cat": 0.8}),
        fake_png({"cat": 0.9, "dog": 0.1}),
        fake_png({"dog": 0.9}),
    ]
    same, copy, near, other = [await upload(http, photo) for photo in photos]
    again = await upload(http, photos[0])
    for media_id in (same, copy, near, other, again):
        await index(http, media_id=media_id)
    await index(http, text="cat", id="word")
    path = f"{DOCUMENTS}/{same}/near-duplicates"
    answer = (await http.get(path)).json()
    assert {one["id"]: one["same_content"] for one in answer["data"]} == {copy: False, again: True}
    assert answer["data"][0]["similarity_score"] == pytest.approx(1, abs=1e-5)
    assert answer["score"]["kind"] == "mutual_similarity"
    assert (await http.get(answer["data"][0]["url"])).status_code == 200
    wider = (await http.get(path, params={"threshold": 0.7})).json()["data"]
    assert [one["id"] for one in wider][2:] == [near]
    assert [one["id"] for one in (await http.get(path, params={"threshold": 1})).json()["data"]] == [
        one["id"] for one in answer["data"]
    ]
    assert len((await http.get(path, params={"threshold": 0})).json()["data"]) == 4
    assert len((await http.get(path, params={"threshold": 0, "limit": 1})).json()["data"]) == 1
    for params, param in (
        ({"threshold": -0.01}, "threshold"),
        ({"threshold": 1.01}, "threshold"),
        ({"threshold": "nan"}, "threshold"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
    ):
        refused = await http.get(path, params=params)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    missing = await http.get(f"{DOCUMENTS}/nobody/near-duplicates")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "document_not_found")


async def test_a_part_of_a_film_is_no_copy_of_it(http):
    whole = await upload(http, fake_mp4([{"boat": 0.9}, {"cat": 0.8}], sound=False))
    copy = await upload(http, fake_mp4([{"boat": 0.8}, {"cat": 0.9}], sound=False))
    extract = await upload(http, fake_mp4([{"cat": 0.8}], sound=False))
    for media_id in (whole, copy, extract):
        await index(http, media_id=media_id)
    answer = (await http.get(f"{DOCUMENTS}/{whole}/near-duplicates")).json()["data"]
    assert [one["id"] for one in answer] == [copy]
    answer = (await http.get(f"{DOCUMENTS}/{whole}/near-duplicates", params={"threshold": 0.4})).json()[
        "data"
    ]
    assert [one["id"] for one in answer] == [copy, extract]
    assert answer[1]["similarity_score"] == pytest.approx(0.5, abs=1e-5)


async def test_clusters(http):
    for number, word in enumerate(["boat"] * 5 + ["garden"] * 3):
        await index(http, text=f"{word} {number}", id=f"d{number}", metadata={"n": number})
    path = f"{COLLECTIONS}/default/clusters"
    answer = (await http.post(path, json={"count": 2})).json()
    assert [one["size"] for one in answer["data"]] == [5, 3]
    first, second = answer["data"]
    assert {one["id"] for one in second["representatives"]} <= {"d5", "d6", "d7"}
    assert first["representatives"][0]["text"].startswith("boat")
    assert first["representatives"][0]["metadata"]["n"] < 5
    assert 0.5 < first["mean_similarity"] <= 1
    assert "centre" not in first
    assert (await http.post(path, json={"count": 2})).json() == answer
    filtered = await http.post(path, json={"count": 3, "filters": {"n": {"gte": 6}}, "include": ["vector"]})
    assert sum(one["size"] for one in filtered.json()["data"]) == 2
    assert len(filtered.json()["data"][0]["centre"]) == 384
    assert set(filtered.json()["data"][0]["representatives"][0]) == {"id", "type", "media_id", "text"}
    assert (await http.post(path, json={"count": 1, "filters": {"n": 99}})).json()["data"] == []
    for body, param in (
        ({}, "count"),
        ({"count": 0}, "count"),
        ({"count": 1001}, "count"),
        ({"count": 2, "filters": {"date_range": "last_1_day"}}, "filters.date_range"),
        ({"count": 2, "filters": {"n": {"over": 1}}}, "filters.n.over"),
        ({"count": 2, "k": 2}, "k"),
    ):
        refused = await http.post(path, json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert (await http.post(f"{COLLECTIONS}/missing/clusters", json={"count": 2})).status_code == 404


async def test_the_document_of_the_interface_lists_it_all(http):
    document = (await http.get("/openapi.json")).json()
    operations = {
        (method, path)
        for path, methods in document["paths"].items()
        for method in methods
        if "collections" in path or path in ("/v1/search", "/v1/recommend")
    }
    documents = "/v1/collections/{collection}/documents"
    assert operations >= {
        ("post", "/v1/search"),
        ("post", "/v1/recommend"),
        ("post", "/v1/collections"),
        ("get", "/v1/collections"),
        ("get", "/v1/collections/{collection}"),
        ("delete", "/v1/collections/{collection}"),
        ("put", "/v1/collections/{collection}/aliases/{alias}"),
        ("delete", "/v1/collections/{collection}/aliases/{alias}"),
        ("post", "/v1/collections/{collection}/clusters"),
        ("post", documents),
        ("get", documents),
        ("get", documents + "/{document_id}"),
        ("delete", documents + "/{document_id}"),
        ("get", documents + "/{document_id}/near-duplicates"),
    }
    schemas = document["components"]["schemas"]
    names = {"SearchRequest", "RecommendRequest", "CollectionRequest", "DocumentRequest", "ClusterRequest"}
    assert names <= set(schemas)
    assert {"query", "mode", "cursor", "filters", "rerank"} <= set(schemas["SearchRequest"]["properties"])
    assert {"and", "or", "not", "date_range"} <= set(schemas["SearchFilters"]["properties"])
    references = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            references.add(value.get("$ref"))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)
    assert {name.rsplit("/", 1)[1] for name in references if isinstance(name, str)} <= set(schemas)
