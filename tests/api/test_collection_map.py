"""Maps of collections, and documents by their ids."""

from __future__ import annotations

import pytest
from fake_services import fake_png
from search_requests import DOCUMENTS, index, upload

PATH = "/v1/collections/default/map"


async def test_a_map(http):
    for number, word in enumerate(["boat"] * 5 + ["garden"] * 3):
        await index(http, text=f"{word} {number}", id=f"d{number}", metadata={"n": number})
    media_id = await upload(http, fake_png({"boat": 0.9}))
    await index(http, media_id=media_id)
    (whole,) = (await http.get(f"{DOCUMENTS}/{media_id}")).json()["parts"]
    assert whole["kind"] == "whole"
    answer = (await http.post(PATH, json={"count": 2})).json()
    assert (answer["object"], answer["method"], answer["documents"]) == ("collection.map", "pca", 9)
    assert answer["sampled"] == 9
    assert [one["size"] for one in answer["clusters"]] == [6, 3]
    assert answer["clusters"][0]["representatives"][0]["url"] is not None
    places = {one["id"]: one for one in answer["data"]}
    assert len(places) == 9
    assert {places[f"d{n}"]["cluster"] for n in range(5)} == {0}
    assert {places[f"d{n}"]["cluster"] for n in (5, 6, 7)} == {1}
    picture = places[media_id]
    assert (picture["type"], picture["media_id"], picture["cluster"]) == ("image", media_id, 0)
    assert places["d0"]["media_id"] is None
    for place in places.values():
        assert set(place) == {"id", "type", "media_id", "x", "y", "cluster"}
        assert -1 <= place["x"] <= 1
        assert -1 <= place["y"] <= 1
    assert 0 < answer["explained"][1] <= answer["explained"][0] < 1
    fewer = (await http.post(PATH, json={"count": 2, "limit": 3, "filters": {"n": {"gte": 3}}})).json()
    assert (fewer["documents"], fewer["sampled"], len(fewer["data"])) == (5, 5, 3)


async def test_maps_of_nothing_and_bad_requests(http):
    assert (await http.post(PATH, json={})).json() == {
        "object": "collection.map",
        "method": "pca",
        "explained": [0.0, 0.0],
        "documents": 0,
        "sampled": 0,
        "data": [],
        "clusters": [],
    }
    for body, param in (
        ({"limit": 0}, "limit"),
        ({"limit": 2001}, "limit"),
        ({"count": 101}, "count"),
        ({"filters": {"date_range": "last_1_day"}}, "filters.date_range"),
        ({"k": 2}, "k"),
    ):
        refused = await http.post(PATH, json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert (await http.post("/v1/collections/missing/map", json={})).status_code == 404


async def test_documents_by_their_ids(http):
    for name in ("a", "b", "c"):
        await index(http, text=f"text {name}", id=name, metadata={"name": name})
    answer = (await http.get(DOCUMENTS, params={"id": ["c", "missing", "a", "c"], "limit": 1})).json()
    assert [one["id"] for one in answer["data"]] == ["c", "a"]
    assert answer["data"][0]["metadata"]["name"] == "c"
    parts = (await http.get(DOCUMENTS, params={"id": "a", "include": "parts"})).json()["data"][0]["parts"]
    assert [(part["kind"], part["text"]) for part in parts] == [("text", "text a")]
    assert (answer["first_id"], answer["last_id"], answer["has_more"]) == ("c", "a", False)
    none = (await http.get(DOCUMENTS, params={"id": "missing"})).json()
    assert none == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"id": "a", "after": "a"}, "id"),
        ({"id": "a", "filters": "{}"}, "id"),
        ({"id": ["a"] * 101}, "id"),
        ({"id": "a" * 129}, "id"),
    ],
)
async def test_what_does_not_go_together(http, params, param):
    refused = await http.get(DOCUMENTS, params=params)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"].partition("[")[0] == param
