"""Bulk ingest over HTTP: jobs with their reports, cancelling, resuming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fake_platform import Platform, build_platform, http_client
from fake_services import FakeSearchIndex, fake_mp4, fake_png

from encoders.errors import EncoderOverloaded
from serving.config import GatewayConfig
from serving.ingest.config import IngestConfig

FAST = IngestConfig(
    first_delay_seconds=0.001, max_delay_seconds=0.002, commit_wait_seconds=0.01, poll_seconds=0.05
)


@pytest.fixture
def config(config: GatewayConfig) -> GatewayConfig:
    return replace(config, ingest=FAST)


@pytest.fixture
async def platform(tmp_path: Path, config: GatewayConfig) -> AsyncIterator[Platform]:
    platform = build_platform(tmp_path, config)
    yield platform
    await platform.gateway.ingest.runner.aclose()


async def begun(http: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post("/v1/ingest", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ended(http: httpx2.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    for _ in range(500):
        answer = (await http.get(f"/v1/ingest/{job['id']}")).json()
        if answer["status"] in ("completed", "failed", "cancelled"):
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError(answer)


async def errors(http: httpx2.AsyncClient, job: dict[str, Any], limit: int = 100) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while True:
        params = {"limit": limit} | ({"after": after} if after else {})
        page = (await http.get(f"/v1/ingest/{job['id']}/errors", params=params)).json()
        found += page["data"]
        if not page["has_more"]:
            return found
        after = page["last_id"]


async def encoding_began(platform: Platform) -> None:
    for _ in range(1000):
        if platform.perception.embedded:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("nothing was encoded")


async def upload(http: httpx2.AsyncClient, data: bytes, name: str = "a.png", **form: str) -> str:
    path = "/v1/files" if form else "/v1/media"
    answer = await http.post(path, files={"file": (name, data)}, data=form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def search(http: httpx2.AsyncClient, text: str, collection: str) -> list[dict[str, Any]]:
    body = {"query": {"type": "text", "content": text}, "collection": collection}
    answer = await http.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


async def test_a_job_indexes_media_and_texts_and_reports_the_rest(platform, http):
    picture = await upload(http, fake_png({"tabby": 0.9}))
    video = await upload(http, fake_mp4([{"dog": 0.9}], (0.0, 1.0, "good boy")), "v.mp4")
    tiny = await upload(http, fake_png({"dot": 0.9}, size=(8, 8)))
    job = await begun(
        http,
        collection="mine",
        min_side=16,
        metadata={"album": "one"},
        items=[
            {"file_id": picture, "id": "cat", "metadata": {"stars": 5}},
            {"file_id": video},
            {"file_id": tiny},
            {"text": "Tea is hot.", "id": "tea"},
            {"file_id": "file-" + "0" * 32},
            {"file_id": picture, "id": "again", "metadata": {"stars": 5}},
        ],
    )
    assert (job["status"], job["total"]) == ("queued", 6)
    job = await ended(http, job)
    assert job["status"] == "completed"
    assert job["counts"] == {"processed": 6, "indexed": 3, "skipped": 2, "failed": 1}
    statistics = job["statistics"]
    assert (statistics["total_processed"], statistics["successful"], statistics["failed"]) == (6, 3, 1)
    assert statistics["total_duration_ms"] > 0
    assert statistics["throughput"] > 0
    ends = {one["index"]: (one["status"], one["code"]) for one in await errors(http, job)}
    # Items are fetched at once: which of two with the same content comes first is not said.
    (again,) = ends.keys() & {0, 5}
    assert ends == {
        2: ("skipped", "too_small"),
        4: ("failed", "media_not_found"),
        again: ("skipped", "duplicate"),
    }
    (hit, *_) = await search(http, "tabby", "mine")
    assert hit["id"] == {0: "again", 5: "cat"}[again]
    assert hit["metadata"] == hit["metadata"] | {"album": "one", "stars": 5, "resolution": "640x480"}
    assert (await search(http, "tea hot", "mine"))[0]["id"] == "tea"
    assert [one["id"] for one in (await http.get("/v1/ingest")).json()["data"]] == [job["id"]]


async def test_contents_that_are_there_are_not_encoded_again(platform, http):
    picture = await upload(http, fake_png({"tabby": 0.9}))
    await ended(http, await begun(http, items=[{"file_id": picture, "id": "a"}]))
    looked = platform.perception.calls["look"]
    job = await ended(
        http, await begun(http, items=[{"file_id": picture, "id": "a"}, {"file_id": picture, "id": "b"}])
    )
    assert platform.perception.calls["look"] == looked
    assert sorted(one["code"] for one in await errors(http, job)) == ["duplicate", "unchanged"]
    job = await ended(http, await begun(http, items=[{"file_id": picture, "id": "b"}], on_duplicate="index"))
    assert job["counts"]["indexed"] == 1


@pytest.mark.parametrize(
    ("name", "form", "content"),
    [
        ("list.csv", None, "id,file_id,stars\ncat,{a},5\ndog,{b},4\nbad,,1\n"),
        (
            "list.jsonl",
            None,
            '{{"file_id": "{a}", "id": "cat", "stars": 5}}\n{{"file_id": "{b}", "id": "dog"}}\n5\n',
        ),
        ("whatever", "csv", "id,file_id\ncat,{a}\ndog,{b}\nbad,\n"),
    ],
)
async def test_an_uploaded_list_is_a_job(http, name, form, content):
    media = {
        "a": await upload(http, fake_png({"tabby": 0.9})),
        "b": await upload(http, fake_png({"puppy": 0.9})),
    }
    file_id = await upload(http, content.format(**media).encode(), name, purpose="user_data")
    job = await begun(http, file_id=file_id, **({"format": form} if form else {}))
    await http.delete(f"/v1/files/{file_id}")  # the job has its own copy
    job = await ended(http, job)
    assert job["counts"] == {"processed": 3, "indexed": 2, "skipped": 0, "failed": 1}
    assert (await search(http, "puppy", "default"))[0]["id"] == "dog"
    assert [one["code"] for one in await errors(http, job)] == ["invalid_entry"]


async def test_what_is_no_list_is_refused(http):
    for name, content in (("a.csv", b"name,age\nx,1\n"), ("a.txt", b"hello"), ("a.jsonl", b"")):
        file_id = await upload(http, content or b"\n", name, purpose="user_data")
        answer = await http.post("/v1/ingest", json={"file_id": file_id})
        assert answer.status_code == 400, name
    answer = await http.post("/v1/ingest", json={"file_id": "file-" + "0" * 32})
    assert answer.status_code == 404
    for body in (
        {},
        {"items": [{"text": "a"}], "file_id": "x"},
        {"items": [{}]},
        {"items": [{"url": "ftp://x"}]},
    ):
        assert (await http.post("/v1/ingest", json=body)).status_code == 400


async def test_a_report_is_paged_in_order(http):
    items = [{"file_id": f"file-{number:032x}"} for number in range(25)]
    job = await ended(http, await begun(http, items=items))
    assert job["counts"]["failed"] == 25
    found = await errors(http, job, limit=7)
    assert sorted(one["index"] for one in found) == list(range(25))


async def test_a_job_stops_when_services_stay_away_and_resumes(platform, http):
    pictures = [await upload(http, fake_png({f"thing{n}": 0.9})) for n in range(3)]
    platform.perception.failure = EncoderOverloaded("Too much to do.")
    job = await ended(http, await begun(http, items=[{"file_id": one} for one in pictures]))
    assert (job["status"], job["error"]) == ("failed", "Too much to do.")
    platform.perception.failure = None
    assert (await http.post(f"/v1/ingest/{job['id']}/resume")).status_code == 200
    job = await ended(http, job)
    assert (job["status"], job["counts"]["indexed"], job["error"]) == ("completed", 3, None)
    assert (await http.post(f"/v1/ingest/{job['id']}/resume")).status_code == 409


async def test_a_cancelled_job_goes_on_where_it_was(platform, http):
    platform.perception.wait = asyncio.Event()
    texts = [{"text": f"word{number}", "id": f"t{number}"} for number in range(40)]
    job = await begun(http, items=texts)
    await encoding_began(platform)
    answer = (await http.post(f"/v1/ingest/{job['id']}/cancel")).json()
    assert answer["status"] in ("cancelling", "cancelled")
    job = await ended(http, job)
    assert (job["status"], job["counts"]["indexed"]) == ("cancelled", 0)
    platform.perception.wait.set()
    await http.post(f"/v1/ingest/{job['id']}/resume")
    job = await ended(http, job)
    assert (job["status"], job["counts"]["indexed"]) == ("completed", 40)
    # Again it is no error, and changes nothing.
    assert (await http.post(f"/v1/ingest/{job['id']}/cancel")).json()["status"] == "completed"


async def test_foreign_jobs_are_missing(tmp_path, config, http):
    job = await ended(http, await begun(http, items=[{"text": "hello"}]))
    other = build_platform(tmp_path, replace(config, default_tenant="other"))
    async with http_client(other) as stranger:
        for method, path in (("GET", ""), ("GET", "/errors"), ("POST", "/cancel"), ("POST", "/resume")):
            answers = [
                await stranger.request(method, f"/v1/ingest/{job_id}{path}")
                for job_id in (job["id"], "ingest_" + "0" * 32, "nonsense")
            ]
            assert [answer.status_code for answer in answers] == [404] * 3
            assert len({answer.text for answer in answers}) == 1
        assert (await stranger.get("/v1/ingest")).json()["data"] == []


async def test_a_second_gateway_leaves_a_job_alone_that_one_runs(tmp_path, platform, config, http):
    platform.perception.wait = asyncio.Event()
    job = await begun(http, items=[{"text": "hello"}])
    await encoding_began(platform)
    other = build_platform(tmp_path, config)
    await other.gateway.ingest.runner.look()
    await other.gateway.ingest.runner.idle()
    assert other.perception.embedded == []
    platform.perception.wait.set()
    assert (await ended(http, job))["status"] == "completed"


async def test_a_job_that_its_gateway_gives_back_is_taken_over(tmp_path, platform, config, http):
    platform.perception.wait = asyncio.Event()
    job = await begun(http, items=[{"text": "hello"}])
    await encoding_began(platform)
    await platform.gateway.ingest.runner.aclose()
    assert (await http.get(f"/v1/ingest/{job['id']}")).json()["status"] == "queued"
    other = build_platform(tmp_path, config)
    await other.gateway.ingest.runner.look()
    await other.gateway.ingest.runner.idle()
    assert (await ended(http, job))["counts"]["indexed"] == 1


async def test_a_collection_is_encoded_anew_behind_an_alias(platform, http):
    picture = await upload(http, fake_png({"tabby": 0.9}))
    await ended(
        http,
        await begun(
            http,
            collection="old",
            items=[
                {"file_id": picture, "id": "cat", "metadata": {"stars": 5}},
                {"text": "Tea. Hot.", "id": "tea"},
            ],
        ),
    )
    job = await begun(http, collection="new", reembed={"source": "old", "alias": "live"})
    job = await ended(http, job)
    assert (job["status"], job["counts"]["indexed"], job["error"]) == ("completed", 2, None)
    hit = (await search(http, "tabby", "live"))[0]
    assert (hit["id"], hit["metadata"]["stars"]) == ("cat", 5)
    assert (await search(http, "tea", "live"))[0]["text"] == "Tea. Hot."


async def test_what_changes_meanwhile_is_taken_along(platform, http, monkeypatch):
    """While the job writes for the first time, and just before the alias is switched: documents are added (with ids
    that were passed already), changed and deleted.
    """

    async def put(id_: str, text: str, collection: str = "old") -> None:
        body = {"text": text, "id": id_}
        answer = await http.post(f"/v1/collections/{collection}/documents", json=body)
        assert answer.status_code == 200

    async def remove(id_: str) -> None:
        assert (await http.delete(f"/v1/collections/old/documents/{id_}")).status_code == 200

    async def texts(collection: str) -> dict[str, str]:
        path = f"/v1/collections/{collection}/documents"
        ids = [one["id"] for one in (await http.get(path, params={"limit": 100})).json()["data"]]
        return {id_: (await http.get(f"{path}/{id_}")).json()["parts"][0]["text"] for id_ in ids}

    for id_ in ("a", "b", "c", "d"):
        await put(id_, f"Text {id_}.")
    await put("z", "Of the new collection before.", "new")
    add, point = FakeSearchIndex.add, FakeSearchIndex.point_alias
    written: list[str] = []

    async def add_after_changes(self, tenant, collection, rows):
        if collection == "new" and not written:
            written.append(collection)
            await remove("a")
            await put("b", "Text b, changed.")
            await put("0", "Text 0, new.")
        return await add(self, tenant, collection, rows)

    async def point_after_changes(self, tenant, alias, name):
        await remove("c")
        await put("d", "Text d, changed.")
        await put("1", "Text 1, new.")
        await point(self, tenant, alias, name)
        await put("live", "Through the alias.", "live")

    monkeypatch.setattr(FakeSearchIndex, "add", add_after_changes)
    monkeypatch.setattr(FakeSearchIndex, "point_alias", point_after_changes)
    job = await ended(http, await begun(http, collection="new", reembed={"source": "old", "alias": "live"}))
    assert job["status"] == "completed"
    kept = {"z": "Of the new collection before.", "live": "Through the alias."}
    assert await texts("live") == {**await texts("old"), **kept}
    assert (await texts("old")) == {
        "b": "Text b, changed.",
        "d": "Text d, changed.",
        "0": "Text 0, new.",
        "1": "Text 1, new.",
    }


async def test_what_cannot_be_encoded_anew_is_said(platform, http):
    await http.post("/v1/collections/old/documents", json={"text": "Tea.", "id": "tea"})
    vector = [1.0] + [0.0] * 383
    body = {"vectors": {"default": vector}, "id": "mine"}
    assert (await http.post("/v1/collections/old/documents", json=body)).status_code == 200
    for reembed, status, code in (
        ({"source": "nowhere"}, 404, "collection_not_found"),
        ({"source": "old", "alias": "old"}, 409, "alias_conflict"),
        ({"source": "old", "alias": "new"}, 409, "alias_conflict"),
        ({"source": "new"}, 400, "invalid_value"),
    ):
        wanted = {"collection": "new", "reembed": reembed}
        await http.delete("/v1/collections/new")
        if reembed["source"] == "new":
            await http.post("/v1/collections", json={"name": "new"})
        answer = await http.post("/v1/ingest", json=wanted)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (await http.get("/v1/ingest")).json()["data"] == []
    job = await ended(http, await begun(http, collection="new", reembed={"source": "old"}))
    assert job["counts"] == {"processed": 2, "indexed": 1, "skipped": 0, "failed": 1}
    (reported,) = await errors(http, job)
    assert (reported["id"], reported["code"]) == ("mine", "invalid_entry")


@pytest.mark.parametrize(("ocr", "read"), [(None, 0), ("auto", 1), ("on", 2)])
async def test_writing_is_read_as_asked_for(platform, http, ocr, read):
    pictures = [
        await upload(http, fake_png({"street sign": 0.9}, text=("Main Street",))),
        await upload(http, fake_png({"tabby": 0.9}, text=("nobody reads this",))),
    ]
    items = [{"file_id": one} for one in pictures]
    await ended(http, await begun(http, items=items, **({"ocr": ocr} if ocr else {})))
    assert platform.perception.calls.get("read_text", 0) == read
    found = (await search(http, "street sign", "default"))[0]
    (document,) = platform.search.documents("default", "default", (found["id"],))
    assert ("Main Street" in document.rows[0].text) == (read > 0)


@pytest.mark.parametrize(
    "body",
    [
        {"items": [{"text": "a"}], "format": "csv"},
        {"reembed": {"source": "default"}, "format": "csv"},
        {"reembed": {"source": "default"}, "metadata": {"a": 1}},
        {"reembed": {"source": "default"}, "on_duplicate": "skip"},
    ],
)
async def test_fields_that_mean_nothing_are_refused(http, body):
    answer = await http.post("/v1/ingest", json={"collection": "new", **body})
    assert answer.status_code == 400
    assert "means nothing" in answer.json()["error"]["message"]
