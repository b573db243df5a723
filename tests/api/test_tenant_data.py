"""Removing a tenant's data takes everything of it and nothing of another's; tenants' settings over HTTP."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from fake_platform import Platform, build_platform, http_client
from fake_services import fake_png, fake_wav
from fake_store import FakeTroubledStore
from redis.asyncio import Redis
from valkey_server import ValkeyServer

from serving.access.config import AccessConfig
from serving.access.keys import KeyStore
from serving.batches.config import BatchConfig
from serving.config import GatewayConfig
from serving.identity import ALL_SCOPES
from serving.ingest.config import IngestConfig
from serving.limits.config import TenantLimits
from serving.moderation.policy import ModerationPolicy
from serving.tenant_data import TENANT_FOLDERS
from storage.keys import tenant_tag
from storage.local import LocalObjectStore

LARGE = bytes(range(256)) * 40_000  # over the size of which digests are kept
KEPT = ("access", "audit", "audit-heads")


@pytest.fixture
def config(config: GatewayConfig) -> GatewayConfig:
    ingest = IngestConfig(commit_wait_seconds=0.01, poll_seconds=0.05)
    batches = BatchConfig(checkpoint_seconds=0.02, poll_seconds=0.05)
    limits = replace(config.limits, max_file_bytes=20_000_000)
    access = AccessConfig("keys", fresh_seconds=0.0, stale_seconds=0.0)
    return replace(config, access=access, ingest=ingest, batches=batches, limits=limits)


@pytest.fixture
def store(tmp_path: Path) -> FakeTroubledStore:
    return FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))


@pytest.fixture
async def platform(tmp_path, config, store, valkey_server: ValkeyServer) -> AsyncIterator[Platform]:
    platform = build_platform(tmp_path, config, store, redis_url=valkey_server.url, redis_timeout_seconds=5.0)
    yield platform
    await platform.gateway.ingest.runner.aclose()
    await platform.gateway.batches.runner.aclose()
    await platform.storage.aclose()


def client(platform: Platform, tenant: str, scopes=ALL_SCOPES - {"admin"}) -> httpx2.AsyncClient:
    keys = KeyStore(platform.storage.objects, platform.gateway.config.cache_secret)
    http = http_client(platform)
    http.headers["authorization"] = f"Bearer {keys.create('', tenant, scopes)[1]}"
    return http


async def lived(http: httpx2.AsyncClient) -> None:
    """Everything that leaves something behind."""

    async def did(method: str, path: str, **request) -> dict:
        answer = await http.request(method, path, **request)
        assert answer.status_code < 400, f"{path}: {answer.text}"
        return answer.json()

    photo = fake_png({"cat": 0.9}, ("read this",))
    media_id = (await did("POST", "/v1/media", files={"file": ("a.png", photo)}))["id"]
    await did("POST", "/v1/files", files={"file": ("b", LARGE)}, data={"purpose": "user_data"})
    wanted = {"filename": "c", "purpose": "vision", "bytes": 5, "mime_type": "image/png"}
    upload = await did("POST", "/v1/uploads", json=wanted)
    await did("POST", f"/v1/uploads/{upload['id']}/parts", files={"data": ("a", b"ab")})
    url = f"data:image/png;base64,{base64.b64encode(fake_png({'dog': 0.8})).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    asked = {"model": "default", "messages": [{"role": "user", "content": parts}]}
    await did("POST", "/v1/chat/completions", json=asked)
    sound = {"file": ("a.wav", fake_wav((0.0, 1.0, "hi")))}
    await did("POST", "/v1/audio/transcriptions", data={"model": "whisper-1"}, files=sound)
    await did("POST", "/v1/embeddings", json={"model": "all-minilm-l6-v2", "input": ["a text", "another"]})
    for collection in ("default", "zoo"):
        await did("POST", f"/v1/collections/{collection}/documents", json={"media_id": media_id})
        await did("POST", f"/v1/collections/{collection}/documents", json={"text": "the cat", "id": "t"})
    await did("PUT", "/v1/collections/zoo/aliases/animals")
    await did("POST", "/v1/search", json={"query": {"type": "text", "content": "cat"}})
    job = await did(
        "POST",
        "/v1/ingest",
        json={"collection": "zoo", "items": [{"text": "a"}, {"file_id": "file-" + "0" * 32}]},
    )
    lines = [
        {
            "custom_id": "1",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "default", "messages": [{"role": "user", "content": "Hi"}]},
        }
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    file = await did("POST", "/v1/files", files={"file": ("l.jsonl", data)}, data={"purpose": "batch"})
    batch = await did(
        "POST",
        "/v1/batches",
        json={
            "input_file_id": file["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        },
    )
    await did("POST", "/v1/responses", json={"model": "default", "input": "Hi", "store": True})
    for path in (f"/v1/ingest/{job['id']}", f"/v1/batches/{batch['id']}"):
        for _ in range(500):
            if (await did("GET", path))["status"] in ("completed", "failed"):
                break
            await asyncio.sleep(0.01)


def kept_of(platform: Platform, tenant: str) -> dict[str, str]:
    """Everything in the store and among the tables that bears a tenant's name, with its hash."""
    objects = platform.storage.objects
    kept = {
        key: hashlib.sha256(objects.get(key)).hexdigest()
        for key in platform.stored_keys()
        if tenant in key and not key.startswith(KEPT)
    }
    tables = platform.root / "collections"
    for path in tables.rglob("*"):
        name = str(path.relative_to(tables))
        if path.is_file() and tenant in name:
            kept[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return kept


def assert_only_empty_tables(platform: Platform, kept: dict[str, str]) -> None:
    """A dropped collection leaves a version of its table that holds no rows, under the collection's name."""
    for name in kept:
        assert re.fullmatch(r"first/(default|zoo)\.lance/(_versions|_transactions)/[\w.-]+", name)
        left = (platform.root / "collections" / name).read_bytes()
        assert len(left) < 10_000
        for word in (b"the cat", b"file-", b"doc-"):
            assert word not in left


async def cached_of(platform: Platform, valkey: ValkeyServer, tenant: str) -> tuple[int, int]:
    tag = tenant_tag(platform.gateway.config.cache_secret, tenant)
    memory = platform.storage.derived._memory
    in_memory = [
        key for part in (memory._newcomers, memory._protected) for key in part if key.startswith(tag)
    ]
    async with Redis.from_url(valkey.url) as redis:
        return len(in_memory), len([key async for key in redis.scan_iter(f"*{tag}*")])


async def test_everything_of_one_tenant_goes_and_nothing_of_another(platform, store, valkey_server):
    async with client(platform, "first") as first, client(platform, "second") as second:
        await lived(first)
        await lived(second)
        await platform.gateway.ingest.runner.idle()  # leases are given back after the status says it is done
        await platform.gateway.batches.runner.idle()
        folders = {key.split("/")[0] for key in kept_of(platform, "first")}
        assert {"files", "responses", "batches", "ingest", "uploads", "parts", "blobs", "derived"} <= folders
        assert {"refs", "digests", "fingerprints", ".objects"} <= folders
        theirs, cached = kept_of(platform, "second"), await cached_of(platform, valkey_server, "second")
        assert min(await cached_of(platform, valkey_server, "first")) > 0

        # It breaks off in the middle, and the second time finishes what the first began.
        deletions = iter(range(10**6))
        store.fails = lambda operation, key: operation == "delete" and next(deletions) > 20
        answer = await first.delete("/v1/tenants/first/data")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        store.fails = lambda operation, key: False
        answer = await first.delete("/v1/tenants/first/data")
        assert answer.status_code == 200, answer.text
        removed = answer.json()
        assert (removed["object"], removed["id"], removed["deleted"]) == (
            "tenant.data.deleted",
            "first",
            True,
        )
        assert removed["objects"] > 10
        assert removed["cached_in_redis"] > 0
        assert_only_empty_tables(platform, kept_of(platform, "first"))
        assert await cached_of(platform, valkey_server, "first") == (0, 0)
        assert kept_of(platform, "second") == theirs
        assert await cached_of(platform, valkey_server, "second") == cached

        # The tenant may begin anew, and a third time there is nothing to do.
        for path in ("/v1/files", "/v1/collections", "/v1/ingest", "/v1/batches"):
            assert (await first.get(path)).json()["data"] == [], path
            assert (await second.get(path)).json()["data"] != [], path
        again = (await first.delete("/v1/tenants/first/data")).json()
        assert {value for value in again.values() if type(value) is int} == {0}
        form = {"files": {"file": ("a.png", fake_png())}}
        assert (await first.post("/v1/media", **form)).status_code == 200


async def test_an_unreachable_redis_is_told(platform, valkey_server):
    async with client(platform, "first") as http:
        await http.post("/v1/media", files={"file": ("a.png", fake_png())})
        valkey_server.kill()
        removed = (await http.delete("/v1/tenants/first/data")).json()
        assert (removed["files"], removed["cached_in_redis"]) == (1, None)


async def test_who_may_remove_what(platform):
    async with (
        client(platform, "first", {"files"}) as own,
        client(platform, "first", {"chat"}) as chat,
        client(platform, "operator", {"admin", "files"}) as admin,
        client(platform, "second", {"files"}) as other,
    ):
        await own.post("/v1/media", files={"file": ("a.png", fake_png())})
        answers = [await other.delete(f"/v1/tenants/{name}/data") for name in ("first", "nobody")]
        assert [answer.status_code for answer in answers] == [403, 403]
        assert answers[0].content == answers[1].content
        assert (await chat.delete("/v1/tenants/first/data")).status_code == 403
        assert (await own.delete("/v1/tenants/first/data")).json()["files"] == 1
        await own.post("/v1/media", files={"file": ("a.png", fake_png())})
        assert (await admin.delete("/v1/tenants/first/data")).json()["files"] == 1
        assert (await admin.delete("/v1/tenants/nobody/data")).json()["objects"] == 0
        assert (await admin.delete("/v1/tenants/..bad/data")).status_code == 400


async def test_names_that_begin_alike_are_others(platform):
    async with client(platform, "a") as short, client(platform, "ab") as long:
        for http in (short, long):
            await http.post("/v1/media", files={"file": ("a.png", fake_png())})
        assert (await short.delete("/v1/tenants/a/data")).json()["files"] == 1
        assert len((await long.get("/v1/files")).json()["data"]) == 1
        assert all(not folder.endswith("/") for folder in TENANT_FOLDERS)


async def test_settings_of_a_tenant(platform):
    async with client(platform, "operator", {"admin"}) as admin, client(platform, "first") as http:
        shown = (await admin.get("/v1/tenants/first")).json()
        assert (shown["is_default"], shown["limits"]["requests_per_minute"]) == (True, None)
        wanted = {
            "limits": {"requests_per_minute": 5},
            "moderation": {"places": ["ingest"], "thresholds": {"violence/graphic": 0.9}},
        }
        shown = (await admin.put("/v1/tenants/first", json=wanted)).json()
        assert shown == (await admin.get("/v1/tenants/first")).json()
        assert (shown["is_default"], shown["limits"]["requests_per_minute"]) == (False, 5)
        settings = await platform.gateway.tenants.settings("first")
        assert settings.limits == TenantLimits(requests_per_minute=5)
        assert settings.moderation == ModerationPolicy(frozenset({"ingest"}), 0.5, {"violence/graphic": 0.9})
        assert (await platform.gateway.tenants.settings("second")).limits == TenantLimits()
        for wrong in (
            {"limits": {"requests_per_minute": -1}},
            {"limits": {"requests_per_minute": 1.5}},
            {"limits": {"wishes": 3}},
            {"moderation": {"places": ["everywhere"]}},
            {"moderation": {"threshold": 2}},
            {"moderation": {"thresholds": {"rudeness": 0.1}}},
            {"quota": 1},
        ):
            assert (await admin.put("/v1/tenants/first", json=wrong)).status_code == 400, wrong
        assert (await admin.get("/v1/tenants/first")).json() == shown
        assert (await http.get("/v1/tenants/first")).status_code == 403
        assert (await http.put("/v1/tenants/first", json={})).status_code == 403


async def test_settings_that_cannot_be_read_are_not_passed_over(platform, store):
    store.fails = lambda operation, key: key.startswith("access/tenants/")
    async with client(platform, "first") as http:
        asked = {"model": "default", "messages": [{"role": "user", "content": "Hi"}]}
        answer = await http.post("/v1/chat/completions", json=asked)
        assert answer.json()["error"]["code"] == "store_unavailable"
        store.fails = lambda operation, key: False
        assert (await http.post("/v1/chat/completions", json=asked)).status_code == 200
        store.fails = lambda operation, key: key.startswith("access/tenants/")
        assert (await http.post("/v1/chat/completions", json=asked)).status_code == 200  # known a moment ago
