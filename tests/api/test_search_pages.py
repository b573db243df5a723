"""Page by page: nothing twice, nothing left out, nobody else's cursor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest
from fake_platform import build_platform, http_client
from search_requests import found, index, text

QUERY = text("red")


@pytest.fixture
async def shelf(http) -> int:
    """25 documents, some of them alike."""
    for number in range(25):
        await index(http, text="red " + "blue " * (number % 7), id=f"d{number:02}", metadata={"n": number})
    return 25


async def pages(http: httpx2.AsyncClient, path: str = "/v1/search", **body) -> AsyncIterator[dict]:
    cursor = None
    while True:
        answer = await http.post(path, json={**body, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        yield answer.json()
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
@pytest.mark.parametrize("top_k", [1, 7, 25, 26])
async def test_pages_make_up_the_whole(http, shelf, mode, top_k):
    body = {"query": QUERY, "mode": mode, "top_k": 100}
    whole = (await http.post("/v1/search", json=body)).json()
    assert (len(whole["results"]), whole["has_more"], whole["next_cursor"]) == (shelf, False, None)
    seen = [page async for page in pages(http, **{**body, "top_k": top_k})]
    assert [hit["id"] for page in seen for hit in page["results"]] == [hit["id"] for hit in whole["results"]]
    assert [page["has_more"] for page in seen] == [True] * (len(seen) - 1) + [False]
    assert len(seen) == -(-shelf // top_k)


async def test_pages_with_filters_and_thresholds(http, shelf):
    body = {"query": QUERY, "filters": {"n": {"lt": 10}}, "score_threshold": 0.3, "top_k": 3}
    whole = await found(http, **{**body, "top_k": 100})
    ids = [hit["id"] for page in [page async for page in pages(http, **body)] for hit in page["results"]]
    assert ids == [hit["id"] for hit in whole["results"]]
    assert 0 < len(ids) < 10


async def test_a_cursor_is_of_one_request_of_one_tenant_and_platform(http, shelf, tmp_path, config):
    body = {"query": QUERY, "top_k": 5}
    cursor = (await http.post("/v1/search", json=body)).json()["next_cursor"]
    assert (await http.post("/v1/search", json={**body, "cursor": cursor})).status_code == 200
    others = [
        {**body, "top_k": 6},
        {**body, "query": text("blue")},
        {**body, "collection": "other"},
        {**body, "filters": {"n": 1}},
        {**body, "mode": "hybrid"},
        {**body, "search_modalities": ["text"]},
    ]
    refused = [await http.post("/v1/search", json={**other, "cursor": cursor}) for other in others]
    # The last but one: some bits of base64's last letter mean nothing.
    changed = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    forged = (changed, "x", cursor.split(".")[0], "\u00fc")
    refused += [await http.post("/v1/search", json={**body, "cursor": one}) for one in forged]
    example = {"positive": ["d00"], "top_k": 5, "cursor": cursor}
    refused.append(await http.post("/v1/recommend", json=example))
    elsewhere = replace(config, cache_secret=b"another-secret!!")
    (tmp_path / "elsewhere").mkdir()
    async with http_client(build_platform(tmp_path / "elsewhere", elsewhere)) as other:
        refused.append(await other.post("/v1/search", json={**body, "cursor": cursor}))
    for answer in refused:
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_cursor"
        assert answer.json() == refused[0].json()


async def test_depth_is_bounded(platform_with):
    async with http_client(platform_with(max_search_depth=10, max_top_k=10)) as http:
        for number in range(12):
            await index(http, text="red", id=f"d{number:02}")
        seen = [page async for page in pages(http, query=QUERY, top_k=4)]
        assert [len(page["results"]) for page in seen] == [4, 4]
        assert seen[-1]["has_more"]
        (only,) = [page async for page in pages(http, query=QUERY, top_k=10)]
        assert only["has_more"]


async def test_later_pages_are_of_no_earlier_version(http, shelf):
    body = {"query": QUERY, "top_k": 20}
    first = (await http.post("/v1/search", json=body)).json()
    await index(http, text="red", id="new")
    second = (await http.post("/v1/search", json={**body, "cursor": first["next_cursor"]})).json()
    assert second["version"] >= first["version"]


async def test_time_stands_still_from_page_to_page(http, shelf, platform):
    body = {"query": QUERY, "top_k": 20, "filters": {"date_range": "last_1_minute"}}
    first = (await http.post("/v1/search", json=body)).json()
    terms = platform.gateway.searcher._terms
    clock = terms._clock
    terms._clock = lambda: clock() + 3600
    second = (await http.post("/v1/search", json={**body, "cursor": first["next_cursor"]})).json()
    assert len(second["results"]) == 5
    assert (await http.post("/v1/search", json=body)).json()["results"] == []
