"""Collections and documents of other tenants answer exactly like missing ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
from fake_platform import Platform, build_platform
from fake_services import fake_png
from fastapi import Request
from search_requests import DOCUMENTS, found_ids, index, text, upload

from serving.auth import current_tenant
from serving.config import GatewayConfig

ID = re.compile(rb"file-[0-9a-f]{32}|doc-[0-9a-f]{32}|/v1/links/[\w.-]+|\d{9,}|\d{4}-\d\d-\d\dT[\d:+]+")


def tenant_of_header(request: Request) -> str:
    return request.headers["x-tenant"]


def house(root: Path, config: GatewayConfig) -> Platform:
    root.mkdir()
    platform = build_platform(root, config)
    platform.app.dependency_overrides[current_tenant] = tenant_of_header
    return platform


def client(platform: Platform, tenant: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(platform.app)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers={"x-tenant": tenant})


def requests(collection: str) -> list[tuple[str, str, dict[str, Any]]]:
    """One request for every way to name a collection, a document or an alias; those that change things last."""
    path = f"/v1/collections/{collection}"
    document = f"{path}/documents/secret"
    by_document = {"type": "document", "content": "secret"}
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/v1/collections", {}),
        ("GET", path, {}),
        ("GET", f"{path}/documents", {}),
        ("GET", f"{path}/documents", {"params": {"after": "secreu", "limit": "1"}}),
        ("GET", document, {}),
        ("GET", f"{document}/near-duplicates", {}),
        ("POST", f"{path}/clusters", {"json": {"count": 2}}),
        ("POST", f"{path}/map", {"json": {}}),
    ]
    searches = (
        {"query": text("secret")},
        {"query": text("secret"), "mode": "text"},
        {"query": text("secret"), "mode": "hybrid"},
        {"query": text("secret"), "min_version": 2},
        {"query": text("secret"), "rerank": {}},
        {"query": by_document},
        {"query": {**by_document, "include_itself": True}},
        {"query": {"type": "vector", "content": [1.0]}},
    )
    recommendations = ({"positive": ["secret"]}, {"negative": ["secret"]}, {"user_id": "u"})
    wanted = [("/v1/search", body) for body in searches]
    wanted += [("/v1/recommend", body) for body in recommendations]
    return [
        *asked,
        *(("POST", route, {"json": {**body, "collection": collection}}) for route, body in wanted),
        ("DELETE", document, {}),
        ("DELETE", f"{path}/aliases/alias", {}),
        ("PUT", f"{path}/aliases/alias", {}),
        ("DELETE", path, {}),
        ("POST", f"{path}/documents", {"json": {"text": "mine", "id": "mine"}}),
        ("GET", path, {}),
        ("PUT", f"{path}/aliases/alias", {}),
        ("DELETE", path, {}),
        ("POST", "/v1/collections", {"json": {"name": collection, "index": {"kind": "flat"}}}),
    ]


def shown(answer: httpx2.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = [
        pair
        for pair in answer.headers.multi_items()
        if pair[0] not in ("x-request-id", "openai-processing-ms")
    ]
    return answer.status_code, headers, ID.sub(b"*", answer.content)


async def test_foreign_collections_and_documents_answer_like_missing_ones(tmp_path, config):
    alone, shared = house(tmp_path / "alone", config), house(tmp_path / "shared", config)
    reached = set()
    async with client(shared, "first") as first:
        photo = await upload(first, fake_png({"secret": 0.9}))
        for collection in ("zoo", "default"):
            path = f"/v1/collections/{collection}/documents"
            await index(first, path, text="the secret", id="secret", metadata={"user_id": "u"})
            await index(first, path, media_id=photo)
        await first.put("/v1/collections/zoo/aliases/alias")
        async with client(alone, "second") as missing, client(shared, "second") as foreign:
            for collection in ("zoo", "alias", "default"):
                for method, path, options in requests(collection):
                    wanted = await missing.request(method, path, **options)
                    answer = await foreign.request(method, path, **options)
                    assert shown(answer) == shown(wanted), (method, path, options)
                    reached.add((method, re.sub("zoo", "{collection}", path)))
        # Nothing was done to what belongs to the first.
        for collection in ("zoo", "alias", "default"):
            assert "secret" in await found_ids(first, text("the secret"), collection=collection)
        assert (await first.get(f"{DOCUMENTS}/{photo}")).status_code == 200
    for route in shared.app.routes:
        path = route.path.replace("{document_id}", "secret").replace("{alias}", "alias")
        if "{collection}" in path and not path.endswith("/batch"):
            assert {(method, path) for method in route.methods} <= reached, path


async def test_cursors_are_a_tenants_own(tmp_path, config):
    platform = house(tmp_path / "house", config)
    body = {"query": text("red"), "top_k": 1}
    async with client(platform, "first") as first, client(platform, "second") as second:
        for one in (first, second):
            await index(one, text="red", id="a")
            await index(one, text="red", id="b")
        cursor = (await first.post("/v1/search", json=body)).json()["next_cursor"]
        assert (await first.post("/v1/search", json={**body, "cursor": cursor})).status_code == 200
        answer = await second.post("/v1/search", json={**body, "cursor": cursor})
        assert answer.json()["error"]["code"] == "invalid_cursor"


async def test_a_users_profile_is_a_tenants_own(tmp_path, config):
    platform = house(tmp_path / "house", config)
    async with client(platform, "first") as first, client(platform, "second") as second:
        for one, liked in ((first, "red"), (second, "blue")):
            await index(one, text=liked, id="liked", metadata={"user_id": "u"})
            await index(one, text="red", id="r")
            await index(one, text="blue", id="b")
        for one, wanted in ((first, "r"), (second, "b")):
            answer = await one.post("/v1/recommend", json={"user_id": "u", "top_k": 1})
            assert [hit["id"] for hit in answer.json()["results"]] == [wanted]
