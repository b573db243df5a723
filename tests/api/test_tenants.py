"""Nobody learns from any answer, nor from the work behind it, what another tenant has."""

from __future__ import annotations

import json
import re

import httpx2
import pytest
from fake_platform import build_platform
from fake_services import fake_png, fake_wav
from fake_store import FakeTroubledStore
from fastapi import Request

from serving.auth import current_tenant
from storage.local import LocalObjectStore

PICTURE = fake_png({"cat": 0.8}, ("SECRET",))
LARGE = bytes(range(256)) * 20_000  # over the size of which digests are kept
RANDOM = re.compile(rb"(?:file-|upload_|part_|req_)[0-9a-f]{32,48}|/v1/links/[\w.-]+|\d{9,}")


def tenant_of_header(request: Request) -> str:
    return request.headers["x-tenant"]


class House:
    """A platform for several tenants, with a note of what the object store was asked."""

    def __init__(self, root, config) -> None:
        root.mkdir(exist_ok=True)
        self.store = FakeTroubledStore(LocalObjectStore(root / "objects"))
        self.platform = build_platform(root, config, self.store)
        self.platform.app.dependency_overrides[current_tenant] = tenant_of_header

    def client(self, tenant: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.platform.app),
            base_url="http://localhost",
            headers={"x-tenant": tenant},
        )


def shown(answer: httpx2.Response) -> tuple[int, list[tuple[str, str]], object]:
    """All of an answer but what is random or a time, and the order of a JSON object's fields."""
    headers = [
        (name, RANDOM.sub(b"*", value.encode()).decode())
        for name, value in answer.headers.multi_items()
        if name not in ("x-request-id", "openai-processing-ms")
    ]
    if answer.headers.get("content-type") == "application/json" and answer.content:
        return answer.status_code, headers, json.loads(RANDOM.sub(b"0", answer.content))
    return answer.status_code, headers, answer.content


async def upload(http, content: bytes, purpose: str = "user_data") -> str:
    answer = await http.post("/v1/files", files={"file": ("a", content)}, data={"purpose": purpose})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def whole_life(http, content: bytes) -> list[httpx2.Response]:
    """Everything one can do with some bytes."""
    answers = []

    async def did(method: str, path: str, **request):
        answers.append(await http.request(method, path, **request))
        assert answers[-1].status_code < 400, answers[-1].text
        return answers[-1]

    form = {"files": {"file": ("a.png", content)}}
    file = (await did("POST", "/v1/files", **form, data={"purpose": "user_data"})).json()["id"]
    again = (await did("POST", "/v1/files", **form, data={"purpose": "vision"})).json()["id"]
    announced = {"filename": "a", "purpose": "user_data", "bytes": len(content), "mime_type": "image/png"}
    upload_id = (await did("POST", "/v1/uploads", json=announced)).json()["id"]
    part = await did("POST", f"/v1/uploads/{upload_id}/parts", files={"data": ("a", content)})
    done = await did("POST", f"/v1/uploads/{upload_id}/complete", json={"part_ids": [part.json()["id"]]})
    files = [file, again, done.json()["file"]["id"]]
    await did("GET", "/v1/files")
    await did("GET", "/v1/files?purpose=vision&limit=1")
    for file_id in files:
        await did("GET", f"/v1/files/{file_id}")
        await did("GET", f"/v1/files/{file_id}/content")
        await did("GET", f"/v1/media/{file_id}/content", headers={"range": "bytes=5-9"})
        await did("HEAD", f"/v1/files/{file_id}/content")
        await did("POST", f"/v1/files/{file_id}/link")
        if content == PICTURE:
            await did("GET", f"/v1/media/{file_id}")
            await did("GET", f"/v1/media/{file_id}/thumbnail")
    if content == PICTURE:
        await did("POST", "/v1/media", **form)
        part = {"type": "file", "file": {"file_id": file}}
        message = {"role": "user", "content": [part]}
        await did("POST", "/v1/chat/completions", json={"model": "default", "messages": [message]})
    for file_id in files:
        await did("DELETE", f"/v1/files/{file_id}")
    return answers


@pytest.mark.parametrize("content", [PICTURE, LARGE])
async def test_the_same_bytes_of_two_tenants_look_and_cost_the_same(tmp_path, config, platform_with, content):
    """What another tenant has changes no status, no header, no body, and not one operation of the store."""
    alone = House(tmp_path / "alone", config)
    async with alone.client("second") as second:
        wanted = [shown(answer) for answer in await whole_life(second, content)]
    house = House(tmp_path / "shared", config)
    async with house.client("first") as first, house.client("second") as second:
        await upload(first, content)
        await upload(first, content, "vision")
        before = len(house.store.calls)
        found = [shown(answer) for answer in await whole_life(second, content)]
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours == theirs
        assert operations(house.store.calls[before:]) == operations(alone.store.calls)
        files = (await first.get("/v1/files")).json()["data"]
        assert len(files) == 2  # the other's deletions took nothing from the first
        assert (await first.get(f"/v1/files/{files[0]['id']}/content")).content == content


def operations(calls: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """What was done under which root, and whose it was; some of it is done side by side, in no order. Who may do
    what is read again every few seconds, whoever asks.
    """
    return sorted(
        (operation, *[*key.split("/"), ""][:2]) for operation, key in calls if not key.startswith("access/")
    )


async def test_foreign_ids_answer_exactly_like_missing_ones(tmp_path, config):
    house = House(tmp_path / "house", config)
    async with house.client("first") as first, house.client("second") as second:
        file_id = await upload(first, PICTURE)
        wanted = {"filename": "a", "purpose": "batch", "bytes": 5, "mime_type": "text/plain"}
        upload_id = (await first.post("/v1/uploads", json=wanted)).json()["id"]
        part = await first.post(f"/v1/uploads/{upload_id}/parts", files={"data": ("a", b"hello")})
        part_ids = [part.json()["id"]]
        reached = set()
        for method, path, request in requests(file_id, upload_id, part_ids):
            foreign = await second.request(method, path, **request)
            swap = {
                file_id: "file-" + "0" * 32,
                upload_id: "upload_" + "0" * 32,
                part_ids[0]: "part_" + "0" * 48,
            }
            missing = await second.request(method, replaced(path, swap), **replaced(request, swap))
            malformed = {file_id: "file-x", upload_id: "upload_x", part_ids[0]: "part_x"}
            odd = await second.request(method, replaced(path, malformed), **replaced(request, malformed))
            assert 400 <= foreign.status_code < 500, (method, path, foreign.text)
            assert shown(foreign) == shown(missing), (method, path)
            assert shown(foreign)[0] == shown(odd)[0]
            assert foreign.json() == odd.json(), (method, path)
            reached.add((method, path.replace(file_id, "{file_id}").replace(upload_id, "{upload_id}")))
        # Nothing was done to what belongs to the first.
        assert (await first.get(f"/v1/files/{file_id}/content")).content == PICTURE
        done = await first.post(f"/v1/uploads/{upload_id}/complete", json={"part_ids": part_ids})
        assert done.json()["status"] == "completed"
        served = set()
        for route in house.platform.app.routes:
            for method in route.methods - {"HEAD"}:  # see below
                path = route.path.replace("{media_id}", "{file_id}")
                if "{file_id}" in path or "{upload_id}" in path:
                    served.add((method, path))
        assert served <= reached


def requests(file_id: str, upload_id: str, part_ids: list[str]):
    """One request for every way to name a stored thing."""
    for route in ("files", "media"):
        yield "GET", f"/v1/{route}/{file_id}", {}
        yield "DELETE", f"/v1/{route}/{file_id}", {}
        yield "GET", f"/v1/{route}/{file_id}/content", {}
        yield "GET", f"/v1/{route}/{file_id}/content", {"headers": {"if-none-match": "*"}}
        yield "GET", f"/v1/{route}/{file_id}/content", {"headers": {"range": "bytes=9999999-"}}
        yield "POST", f"/v1/{route}/{file_id}/link", {}
    yield "GET", f"/v1/media/{file_id}/thumbnail", {}
    yield "GET", f"/v1/media/{file_id}/text", {}
    yield "POST", f"/v1/uploads/{upload_id}/parts", {"files": {"data": ("a", b"x")}}
    yield "POST", f"/v1/uploads/{upload_id}/complete", {"json": {"part_ids": part_ids}}
    yield "POST", f"/v1/uploads/{upload_id}/cancel", {}
    for part in (
        {"type": "file", "file": {"file_id": file_id}},
        {"type": "image_url", "image_url": {"url": file_id}},
    ):
        message = {"role": "user", "content": [part]}
        yield "POST", "/v1/chat/completions", {"json": {"model": "default", "messages": [message]}}
    form = {"model": (None, "whisper-1"), "file_id": (None, file_id)}
    yield "POST", "/v1/audio/transcriptions", {"files": form}
    yield "POST", "/v1/collections/zoo/documents", {"json": {"media_id": file_id}}
    yield (
        "POST",
        "/v1/search",
        {"json": {"collection": "zoo", "query": {"type": "image", "content": file_id}}},
    )


def replaced(value, swap: dict[str, str]):
    """``value`` with other ids in it, wherever they stand."""
    if isinstance(value, str):
        for old, new in swap.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {key: replaced(item, swap) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(replaced(item, swap) for item in value)
    return value


async def test_heads_of_foreign_files_are_like_those_of_missing_ones(tmp_path, config):
    house = House(tmp_path / "house", config)
    async with house.client("first") as first, house.client("second") as second:
        file_id = await upload(first, PICTURE)
        for route in ("files", "media"):
            foreign = await second.head(f"/v1/{route}/{file_id}/content")
            missing = await second.head(f"/v1/{route}/file-{'0' * 32}/content")
            assert foreign.status_code == 404
            assert shown(foreign) == shown(missing)


async def test_lists_and_look_alikes_are_a_tenants_own(tmp_path, config):
    house = House(tmp_path / "house", config)
    async with house.client("first") as first, house.client("second") as second:
        theirs = await upload(first, PICTURE)
        await first.post(
            "/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("a.wav", fake_wav())}
        )
        ours = await upload(second, PICTURE)
        assert (await second.get(f"/v1/media/{ours}")).json()["near_duplicates"] == []
        for query in ("", f"?after={theirs}", "?order=asc", "?purpose=inline", "?purpose=user_data"):
            listed = (await second.get(f"/v1/files{query}")).json()["data"]
            assert {file["id"] for file in listed} <= {ours}
        again = await upload(second, PICTURE)
        alike = (await second.get(f"/v1/media/{again}")).json()["near_duplicates"]
        assert alike == [{"id": ours, "distance": 0}]
