"""Batches and tenants: turns, limits, other people's ids, and a tenant's end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from batch_files import (
    CHAT,
    EMBEDDINGS,
    FAST,
    answering_began,
    batch_line,
    created,
    ended,
    lines_of_file,
    uploaded,
)
from fake_platform import Platform, build_platform
from fake_services import fake_png

from serving.config import GatewayConfig
from serving.identity import ALL_SCOPES, CALLER_KEY, Caller, Scope


@pytest.fixture
def config(config: GatewayConfig) -> GatewayConfig:
    return replace(config, batches=FAST)


@pytest.fixture
async def platform(tmp_path: Path, config: GatewayConfig) -> AsyncIterator[Platform]:
    platform = build_platform(tmp_path, config)
    yield platform
    await platform.gateway.batches.runner.aclose()


async def test_a_tenant_may_have_so_many_unfinished_ones(
    http: httpx2.AsyncClient, platform: Platform
) -> None:
    platform.engine.stall_after = 0
    file_id = await uploaded(http, [batch_line("a", CHAT)])
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    for _ in range(FAST.max_unfinished):
        assert (await http.post("/v1/batches", json=body)).status_code == 200
    answer = await http.post("/v1/batches", json=body)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    listed = (await http.get("/v1/batches")).json()["data"]
    for batch in listed:
        await http.post(f"/v1/batches/{batch['id']}/cancel")
        assert (await ended(http, batch))["status"] == "cancelled"
    assert (await http.post("/v1/batches", json=body)).status_code == 200


def client_of(platform: Platform, tenant: str, scopes: frozenset[Scope] = ALL_SCOPES) -> httpx2.AsyncClient:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await platform.app({**scope, CALLER_KEY: Caller(tenant, scopes)}, receive, send)

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost")


async def test_requests_are_answered_in_the_name_of_the_batchs_tenant(platform: Platform) -> None:
    async with client_of(platform, "ann") as ann, client_of(platform, "bob") as bob:
        pictures = []
        for http in (ann, bob):
            answer = await http.post("/v1/media", files={"file": ("a.png", fake_png({"cat": 0.9}))})
            pictures.append(answer.json()["id"])
        parts = [[{"type": "image_url", "image_url": {"url": one}}] for one in pictures]
        lines = [
            batch_line(name, CHAT, messages=[{"role": "user", "content": part}])
            for name, part in zip(("hers", "his"), parts, strict=True)
        ]
        batch = await created(bob, lines, CHAT)
        assert (await ann.get(f"/v1/batches/{batch['id']}")).status_code == 404
        assert (await ann.post(f"/v1/batches/{batch['id']}/cancel")).status_code == 404
        assert (await ann.get("/v1/batches")).json()["data"] == []
        batch = await ended(bob, batch)
        assert (await ann.get(f"/v1/files/{batch['output_file_id']}")).status_code == 404
        (good,) = await lines_of_file(bob, batch["output_file_id"])
        (bad,) = await lines_of_file(bob, batch["error_file_id"])
        assert (good["custom_id"], bad["custom_id"]) == ("his", "hers")
        assert bad["response"]["body"]["error"]["code"] == "media_not_found"
        salts = {asked["cache_salt"] for asked in platform.engine.requests}
        await bob.post(CHAT, json=batch_line("direct", CHAT)["body"])
        assert salts == {platform.engine.requests[-1]["cache_salt"]}


async def test_a_tenant_with_many_requests_keeps_nobody_waiting(
    tmp_path: Path, config: GatewayConfig
) -> None:
    narrow = replace(config, batches=replace(FAST, requests_at_once=1))
    platform = build_platform(tmp_path, narrow)
    async with client_of(platform, "noisy") as noisy, client_of(platform, "bob") as bob:
        many = await created(noisy, [batch_line(f"noisy {number}", CHAT) for number in range(20)], CHAT)
        few = await created(bob, [batch_line(f"bob {number}", CHAT) for number in range(3)], CHAT)
        assert (await ended(bob, few))["status"] == (await ended(noisy, many))["status"] == "completed"
    asked = [one["messages"][-1]["content"].split()[0] for one in platform.engine.requests]
    first = asked.index("bob")
    assert asked[first : first + 6].count("bob") == 3, "they did not take turns"
    await platform.gateway.batches.runner.aclose()


async def test_a_key_for_batches_alone_does_not_open_the_endpoints(platform: Platform) -> None:
    async with client_of(platform, "ann", frozenset({"files", "batches", "chat"})) as http:
        file_id = await uploaded(http, [batch_line("a")])
        body = {"input_file_id": file_id, "endpoint": EMBEDDINGS, "completion_window": "24h"}
        answer = await http.post("/v1/batches", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (403, "endpoint")
        assert (await http.post("/v1/batches", json={**body, "endpoint": CHAT})).status_code == 200


async def test_batches_of_a_removed_tenant_leave_nothing(
    http: httpx2.AsyncClient, platform: Platform
) -> None:
    platform.engine.stall_after = 0
    await ended(http, await created(http, [batch_line("done")]))
    await created(http, [batch_line("a", CHAT)], CHAT)
    await answering_began(platform, 1)
    assert await platform.gateway.batches.forget_tenant("default") == 2
    assert [key for key in platform.stored_keys() if key.startswith("batch")] == []
    assert platform.engine.running == 0
    assert await platform.gateway.batches.forget_tenant("default") == 0
    assert (await http.get("/v1/batches")).json()["data"] == []
