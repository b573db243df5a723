"""More like this, less like that, and what a user may like."""

from __future__ import annotations

import pytest
from fake_services import fake_mp4, fake_png
from search_requests import index, upload

TEXTS = {
    "boats": "red boats on a lake",
    "ships": "red boats in a harbour",
    "roses": "a garden with red roses",
    "tulips": "a garden with tulips",
    "stocks": "stock prices fell",
}


@pytest.fixture
async def shelf(http) -> None:
    for number, (name, content) in enumerate(TEXTS.items()):
        await index(http, text=content, id=name, metadata={"n": number})


async def recommended(http, **body) -> dict:
    answer = await http.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ids(http, **body) -> list[str]:
    return [hit["id"] for hit in (await recommended(http, **body))["results"]]


@pytest.mark.usefixtures("shelf")
async def test_by_examples(http):
    found = await recommended(http, positive=["boats"])
    assert found["results"][0]["id"] == "ships"
    assert "boats" not in [hit["id"] for hit in found["results"]]
    assert found["score"]["kind"] == "cosine"
    assert set(found) == {"results", "score", "version", "has_more", "next_cursor"}
    both = await ids(http, positive=["boats", {"id": "tulips", "weight": 3}])
    assert set(both) == {"ships", "roses", "stocks"}
    assert both[0] == "roses"
    away = await ids(http, positive=["boats"], negative=["roses"])
    assert away[0] == "ships"
    assert "roses" not in away
    # What is disliked weighs as much as is said.
    plain = await recommended(http, positive=["roses"], negative=[{"id": "boats", "weight": 0.01}])
    strong = await recommended(http, positive=["roses"], negative=[{"id": "boats", "weight": 1}])
    score = {hit["id"]: hit["similarity_score"] for hit in plain["results"]}
    less = {hit["id"]: hit["similarity_score"] for hit in strong["results"]}
    assert less["ships"] < score["ships"] - 0.2
    assert (await ids(http, negative=["boats"]))[-1] == "ships"


@pytest.mark.usefixtures("shelf")
async def test_the_fields_of_a_search(http):
    assert await ids(http, positive=["boats"], top_k=1) == ["ships"]
    assert set(await ids(http, positive=["boats"], filters={"n": {"gte": 3}})) == {"tulips", "stocks"}
    assert await ids(http, positive=["boats"], score_threshold=0.5) == ["ships"]
    assert await ids(http, positive=["boats"], search_modalities=["image"]) == []
    assert await ids(http, positive=["boats"], filters={"date_range": {"to": "2020-01-01"}}) == []
    (hit,) = (await recommended(http, positive=["boats"], top_k=1, include=["vector"]))["results"]
    assert len(hit["vector"]) == 384
    first = await recommended(http, positive=["boats"], top_k=3)
    rest = await recommended(http, positive=["boats"], top_k=3, cursor=first["next_cursor"])
    assert [hit["id"] for hit in first["results"] + rest["results"]] == await ids(http, positive=["boats"])


@pytest.mark.usefixtures("shelf")
async def test_by_files_that_are_not_in_the_collection(http):
    photo = await upload(http, fake_png({"tulips": 0.9, "garden": 0.5}))
    answer = await recommended(http, positive=[photo])
    assert answer["results"][0]["id"] == "tulips"
    assert answer["manymodal"]["media"][0]["id"] == photo
    film = await upload(http, fake_mp4([{"stock": 0.9}, {"prices": 0.9}]))
    assert (await ids(http, positive=[film, photo], negative=["tulips"]))[0] == "stocks"
    await index(http, media_id=photo)
    answer = await recommended(http, positive=[photo])  # now it is, and stays out of the answer
    assert photo not in [hit["id"] for hit in answer["results"]]
    assert "manymodal" not in answer


@pytest.mark.usefixtures("shelf")
async def test_by_what_a_user_has(http, platform):
    await index(http, text="red boats", id="u1", metadata={"user_id": "u"})
    await index(http, text="a harbour", id="u2", metadata={"user_id": "u"})
    await index(http, text="a harbour with red boats", id="v1", metadata={"user_id": "v"})
    found = await ids(http, user_id="u")
    assert set(found[:2]) == {"v1", "ships"}
    assert not {"u1", "u2"} & set(found)
    other = await ids(http, user_id="v", positive=["tulips"])
    assert "v1" not in other
    assert {"u1", "u2"} <= set(other)
    nobody = await http.post("/v1/recommend", json={"user_id": "nobody"})
    assert nobody.status_code == 400
    assert nobody.json()["error"]["code"] == "nothing_to_recommend_by"
    assert (await ids(http, user_id="nobody", positive=["boats"]))[0] == "u1"


@pytest.mark.usefixtures("shelf")
async def test_the_newest_counts_most_and_a_new_version_is_seen(http, platform):
    engine = platform.search
    day = 24 * 3600.0
    now = engine._clock()
    engine._clock = lambda: now - 365 * day
    await index(http, text="stock prices", id="old", metadata={"user_id": "u"})
    assert await ids(http, user_id="u", top_k=1) == ["stocks"]
    engine._clock = lambda: now
    await index(http, text="garden tulips", id="new", metadata={"user_id": "u"})
    assert await ids(http, user_id="u", top_k=1) == ["tulips"]


@pytest.mark.usefixtures("shelf")
async def test_a_profile_is_made_once_for_a_version(http, platform, monkeypatch):
    await index(http, text="red boats", id="u1", metadata={"user_id": "u"})
    calls = []
    index_of = platform.gateway.services.search
    scroll = index_of.scroll

    async def counted(*arguments):
        calls.append(arguments)
        return await scroll(*arguments)

    monkeypatch.setattr(index_of, "scroll", counted)
    for _ in range(3):
        await ids(http, user_id="u", top_k=2)
    assert len(calls) == 1
    await index(http, text="red boats", id="another")
    await ids(http, user_id="u", top_k=2)
    assert len(calls) == 2
    await ids(http, user_id="nobody", positive=["boats"])
    await ids(http, user_id="nobody", positive=["boats"])
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "positive"),
        ({"positive": [], "negative": []}, 400, "positive"),
        ({"positive": ["x"], "extra": 1}, 400, "extra"),
        ({"positive": [""]}, 400, "positive[0]"),
        ({"positive": [{"id": "a", "weight": 0}]}, 400, "positive[0].weight"),
        ({"positive": [{"id": "a", "weight": 1001}]}, 400, "positive[0].weight"),
        ({"negative": [{"weight": 1}]}, 400, "negative[0].id"),
        ({"positive": ["boats"] * 65}, 400, "positive"),
        ({"user_id": ""}, 400, "user_id"),
        ({"user_id": "x" * 257}, 400, "user_id"),
        ({"positive": ["boats"], "top_k": 101}, 400, "top_k"),
        ({"positive": ["boats"], "filters": {"a": {"b": 1}}}, 400, "filters.a.b"),
        ({"positive": ["boats"], "space": "../x"}, 400, "space"),
        ({"positive": ["boats"], "space": "nowhere"}, 400, "positive[0]"),
        ({"positive": ["file-" + "0" * 32], "space": "own"}, 400, "space"),
        ({"positive": ["boats"], "negative": [{"id": "boats", "weight": 1}]}, 400, None),
        ({"positive": ["nobody"]}, 404, None),
        ({"positive": ["file-" + "0" * 32]}, 404, None),
        ({"positive": ["boats"], "collection": "missing"}, 404, None),
        ({"user_id": "u", "collection": "missing"}, 404, None),
    ],
)
@pytest.mark.usefixtures("shelf")
async def test_refusals(http, body, status, param):
    answer = await http.post("/v1/recommend", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


async def test_a_user_of_a_collection_that_nobody_made(http):
    answer = await http.post("/v1/recommend", json={"user_id": "u"})
    assert answer.status_code in (400, 404)
