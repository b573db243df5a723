"""What one tenant may use: at, below and above every limit; told in headers, refused in OpenAI's form."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import openai
import pytest
from fake_platform import Platform, build_platform, http_client, openai_client
from fake_services import fake_png, fake_wav

from serving.identity import CALLER_KEY, Caller
from serving.limits.config import TenantLimits
from serving.limits.windows import Standing, Window
from serving.tenant_settings import TenantSettings

CHAT = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}


def as_tenant(platform: Platform, tenant: str = "ours", *, internal: bool = False) -> httpx2.AsyncClient:
    """A client of a tenant, whom the gateway knows already."""

    async def app(scope, receive, send):
        caller = Caller(tenant, internal=internal)
        await platform.app({**scope, CALLER_KEY: caller}, receive, send)

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost", timeout=30)


@pytest.fixture
def limited(tmp_path, config) -> Callable[..., Platform]:
    """A platform whose tenants all have these limits."""

    def build(**limits: int) -> Platform:
        settings = TenantSettings(limits=TenantLimits(**limits))
        return build_platform(tmp_path, replace(config, tenant_defaults=settings))

    return build


async def test_requests_a_minute(limited):
    platform = limited(requests_per_minute=3)
    async with as_tenant(platform) as http, as_tenant(platform, "other") as other:
        for left in (2, 1, 0):
            answer = await http.get("/v1/models")
            assert answer.status_code == 200
            assert answer.headers["x-ratelimit-limit-requests"] == "3"
            assert answer.headers["x-ratelimit-remaining-requests"] == str(left)
            assert answer.headers["x-ratelimit-reset-requests"] in ("1m0s", "1m1s")
        refused = await http.get("/v1/models")
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert error["type"] == "rate_limit_error"
        assert error["code"] == "rate_limit_exceeded"
        assert "requests_per_minute" in error["message"]
        assert 55 <= int(refused.headers["retry-after"]) <= 61
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert (await other.get("/v1/models")).status_code == 200
    async with http_client(platform) as nobody:
        assert (await nobody.get("/health")).status_code == 200
    async with as_tenant(platform, internal=True) as batches:
        assert (await batches.get("/v1/models")).status_code == 200


async def test_the_official_client_understands(limited):
    platform = limited(requests_per_minute=1)
    async with openai_client(as_tenant(platform)) as client:
        await client.models.list()
        with pytest.raises(openai.RateLimitError) as refused:
            await client.models.list()
        assert refused.value.code == "rate_limit_exceeded"


async def test_without_limits_nothing_is_said(limited):
    async with as_tenant(limited()) as http:
        answer = await http.get("/v1/models")
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


@asynccontextmanager
async def under_way(
    http: httpx2.AsyncClient, count: int, path: str = "/v1/chat/completions"
) -> AsyncIterator:
    tasks = [asyncio.create_task(http.post(path, json=CHAT)) for _ in range(count)]
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of another task
            await asyncio.sleep(0.005)


async def test_requests_at_once_are_let_go_at_every_end(limited):
    platform = limited(concurrent_requests=2)
    platform.engine.stall_after = 0
    async with as_tenant(platform) as http:
        async with under_way(http, 2):
            await soon(lambda: platform.engine.running == 2)
            refused = await http.get("/v1/models")
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert "concurrent_requests" in refused.json()["error"]["message"]
        # Both have left without an answer. And errors let go, too.
        for _ in range(4):
            assert (await http.get("/v1/files/file-none")).status_code == 404
        assert (await http.get("/v1/models")).status_code == 200


async def settled() -> None:
    """What nobody waits for is done."""
    for _ in range(5):
        await asyncio.sleep(0)


async def spent(platform: Platform, tenant: str = "ours") -> int:
    """Tokens that count now."""
    return (await standing(platform, "tokens", tenant)).used


async def standing(platform: Platform, name: str, tenant: str = "ours") -> Standing:
    """What counts now."""
    await settled()
    taken = await platform.gateway.limiter._counts.take([Window(f"{{{tenant}}}:{name}", 10**9, 0)])
    return taken.standings[0]


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_reserved_and_then_settled(limited, stream):
    platform = limited(tokens_per_minute=10_000)
    async with as_tenant(platform) as http:
        answer = await http.post("/v1/chat/completions", json={**CHAT, "stream": stream})
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-tokens"] == "10000"
        assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 10_000 - CHAT["max_tokens"]
        whole = (await http.post("/v1/chat/completions", json=CHAT)).json()["usage"]["total_tokens"]
        assert await spent(platform) == 2 * whole


async def test_tokens_at_and_above_the_edge(limited):
    platform = limited(tokens_per_minute=10_000)
    async with as_tenant(platform) as http:
        answer = await http.post("/v1/chat/completions", json=CHAT)
        needed = 10_000 - int(answer.headers["x-ratelimit-remaining-tokens"])
    for limit, status in ((needed, 200), (needed - 1, 429)):
        async with as_tenant(limited(tokens_per_minute=limit)) as http:
            assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == status


async def test_an_answer_that_failed_costs_nothing(limited):
    platform = limited(tokens_per_minute=10_000)
    platform.engine.refusal = (400, {"message": "no"})
    async with as_tenant(platform) as http:
        assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 400
        assert await spent(platform) == 0


async def test_a_noisy_tenant_leaves_the_engine_to_others(tmp_path, config):
    """Its requests wait for the slots it has, and a quiet tenant's for none."""
    platform = build_platform(tmp_path, replace(config, engine_slots=4))
    turns = platform.gateway.chat.turns.queue
    async with as_tenant(platform, "quiet") as quiet, as_tenant(platform, "noisy") as noisy:
        assert (await quiet.post("/v1/chat/completions", json=CHAT)).status_code == 200
        platform.engine.stall_after = 0
        async with under_way(noisy, 10):
            await soon(lambda: turns.waiting == 7)
            assert turns.held == 3
            platform.engine.stall_after = None
            assert (await quiet.post("/v1/chat/completions", json=CHAT)).status_code == 200
        await soon(lambda: turns.held == turns.waiting == platform.engine.running == 0)
        for body in ({**CHAT, "n": 99}, {**CHAT, "stream": True, "n": 4}):
            assert (await noisy.post("/v1/chat/completions", json=body)).status_code == 200
        assert turns.held == 0


async def test_who_gets_no_turn_soon_is_told_to_come_back(tmp_path, config):
    limits = replace(config.limits, turn_wait_seconds=0.05)
    platform = build_platform(tmp_path, replace(config, engine_slots=2, limits=limits))
    platform.engine.stall_after = 0
    async with as_tenant(platform, "one") as one:
        async with under_way(one, 2):
            await soon(lambda: platform.engine.running == 2)
            refused = await one.post("/v1/chat/completions", json=CHAT)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_overloaded")
            assert refused.headers["retry-after"]
        platform.engine.stall_after = None
        assert (await one.post("/v1/chat/completions", json=CHAT)).status_code == 200


async def test_full_houses_answer_in_our_own_words(tmp_path, config):
    platform = build_platform(tmp_path, replace(config, max_requests=4))
    platform.engine.stall_after = 0
    async with as_tenant(platform, "quiet") as quiet, as_tenant(platform, "noisy") as noisy:
        await quiet.get("/v1/models")
        async with under_way(noisy, 3):
            await soon(lambda: platform.engine.running == 3)
            refused = await noisy.get("/v1/models")
            assert refused.status_code == 429
            assert refused.headers["retry-after"]
            async with under_way(quiet, 1):
                await soon(lambda: platform.engine.running == 4)
                async with as_tenant(platform, "third") as third:
                    refused = await third.get("/v1/models")
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "service_unavailable"
                assert refused.headers["retry-after"]
        assert (await noisy.get("/v1/models")).status_code == 200


async def test_a_thousand_disconnects_leave_nothing(platform):
    platform.engine.stall_after = 0
    turns = platform.gateway.chat.turns.queue
    async with as_tenant(platform) as http:
        for _ in range(10):
            async with under_way(http, 100):
                await asyncio.sleep(0.02)
        await soon(lambda: turns.held == turns.waiting == platform.engine.running == 0)
        platform.engine.stall_after = None
        assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200


def picture(words: str) -> dict:
    url = "data:image/png;base64," + base64.b64encode(fake_png({words: 0.8}, ())).decode()
    return {"type": "image_url", "image_url": {"url": url}}


async def ask_about(http: httpx2.AsyncClient, *parts: dict) -> httpx2.Response:
    content = [{"type": "text", "text": "What is this?"}, *parts]
    return await http.post(
        "/v1/chat/completions", json={**CHAT, "messages": [{"role": "user", "content": content}]}
    )


async def test_pixels_count_when_they_are_decoded(limited):
    platform = limited(pixels_per_minute=10**6)
    async with as_tenant(platform) as http:
        assert (await ask_about(http, picture("cat"))).status_code == 200
        once = (await standing(platform, "pixels")).used
        assert once > 0
        assert (await ask_about(http, picture("cat"))).status_code == 200  # known: nothing is decoded
        assert (await standing(platform, "pixels")).used == once
    for limit, status in ((once, 200), (once - 1, 429)):
        shutil.rmtree(platform.root / "objects")
        async with as_tenant(limited(pixels_per_minute=limit), "ours") as http:
            answer = await ask_about(http, picture("cat"))
            assert answer.status_code == status
            if status == 429:
                assert "pixels_per_minute" in answer.json()["error"]["message"]


async def test_seconds_of_sound(limited):
    platform = limited(media_seconds_per_minute=10**6)
    form = {
        "files": {"file": ("a.wav", fake_wav((0.0, 1.0, "hello"), seconds=7.2))},
        "data": {"model": "whisper-1"},
    }
    async with as_tenant(platform) as http:
        for _ in range(2):
            assert (await http.post("/v1/audio/transcriptions", **form)).status_code == 200
        assert (await standing(platform, "media_seconds")).used == 8
    shutil.rmtree(platform.root / "objects")
    async with as_tenant(limited(media_seconds_per_minute=7)) as http:
        answer = await http.post("/v1/audio/transcriptions", **form)
        assert answer.status_code == 429
        assert "media_seconds_per_minute" in answer.json()["error"]["message"]


async def test_tokens_of_embeddings(limited):
    platform = limited(tokens_per_minute=40)
    async with as_tenant(platform) as http:
        body = {"model": "all-minilm-l6-v2", "input": ["some words", "and some more"]}
        answer = await http.post("/v1/embeddings", json=body)
        assert answer.status_code == 200
        assert await spent(platform) == answer.json()["usage"]["total_tokens"]
        refused = await http.post("/v1/embeddings", json={"model": "all-minilm-l6-v2", "input": "x" * 200})
        assert refused.status_code == 429
        lines = "\n".join(json.dumps({"input": text}) for text in ("short", "word " * 60))
        streamed = await http.post(
            "/v1/embeddings", content=lines, headers={"content-type": "application/x-ndjson"}
        )
        assert "rate_limit_exceeded" in streamed.text


async def upload(http: httpx2.AsyncClient, content: bytes) -> httpx2.Response:
    return await http.post("/v1/files", files={"file": ("a", content)}, data={"purpose": "user_data"})


async def test_stored_bytes(limited):
    platform = limited(stored_bytes=1000)
    async with as_tenant(platform) as http:
        first = await upload(http, b"a" * 600)
        assert first.status_code == 200
        refused = await upload(http, b"b" * 401)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "insufficient_quota"
        assert "stored_bytes" in refused.json()["error"]["message"]
        assert (await upload(http, b"b" * 400)).status_code == 200
        assert (await upload(http, b"c")).status_code == 429
    platform = limited(stored_bytes=1000)  # started again on the same store
    async with as_tenant(platform) as http, as_tenant(platform, "other") as other:
        assert (await upload(http, b"c")).status_code == 429
        assert (await upload(other, b"d" * 1000)).status_code == 200
        await http.delete(f"/v1/files/{first.json()['id']}")
        assert (await upload(http, b"e" * 601)).status_code == 429
        assert (await upload(http, b"e" * 600)).status_code == 200
        assert not [key for key in platform.stored_keys("files/ours/") if "inline" in key]


async def test_every_way_to_store_bytes_is_counted(limited):
    """Uploads in parts, inline media and ingest: one byte too many is refused, and nothing of it stays."""
    png = fake_png({"cat": 0.8}, ())
    for way in ("parts", "inline", "ingest"):
        for spare in (0, -1):
            platform = limited(stored_bytes=len(png) + spare)
            async with as_tenant(platform, f"{way}{-spare}") as http:
                if way == "parts":
                    announced = {
                        "filename": "a",
                        "purpose": "user_data",
                        "bytes": len(png),
                        "mime_type": "a/b",
                    }
                    begun = (await http.post("/v1/uploads", json=announced)).json()["id"]
                    answer = await http.post(f"/v1/uploads/{begun}/parts", files={"data": ("a", png)})
                    refused = answer.status_code == 429
                    if not refused:
                        done = {"part_ids": [answer.json()["id"]]}
                        answer = await http.post(f"/v1/uploads/{begun}/complete", json=done)
                        assert answer.json()["file"]["bytes"] == len(png)
                elif way == "inline":
                    answer = await ask_about(http, picture("cat"))
                    refused = answer.status_code == 429
                else:
                    body = {"documents": [{"file": "f", "id": "d"}]}
                    answer = await http.post(
                        "/v1/collections/c/documents/batch",
                        data={"request": json.dumps(body)},
                        files={"f": ("a.png", png)},
                    )
                    refused = answer.status_code != 200
                assert refused is (spare < 0), answer.text
                kept = platform.stored_keys(f"blobs/{way}{-spare}/")
                assert bool(kept) is (spare == 0)


async def test_collections(limited):
    platform = limited(collections=2)
    async with as_tenant(platform) as http:
        for name in ("one", "two", "two"):
            assert (await http.post("/v1/collections", json={"name": name})).status_code == 200
        document = {"text": "words"}
        for answer in (
            await http.post("/v1/collections", json={"name": "three"}),
            await http.post("/v1/collections/three/documents", json=document),
            await http.post("/v1/collections/three/documents/batch", json={"documents": [document]}),
            await http.post("/v1/ingest", json={"collection": "three", "items": [document]}),
        ):
            assert answer.status_code == 429, answer.text
            assert "collections" in answer.json()["error"]["message"]
        assert (await http.post("/v1/collections/two/documents", json=document)).status_code == 200
        await http.delete("/v1/collections/one")
        assert (await http.post("/v1/collections/three/documents", json=document)).status_code == 200
        assert (await http.post("/v1/collections", json={"name": "one"})).status_code == 429


async def test_documents_at_once_are_told_of_the_limit(limited):
    platform = limited(pixels_per_minute=10**6)
    async with as_tenant(platform) as http:
        assert (await ask_about(http, picture("cat"))).status_code == 200
    once = (await standing(platform, "pixels")).used

    async def documents(http: httpx2.AsyncClient, name: str) -> httpx2.Response:
        body = {"request": json.dumps({"documents": [{"file": "f", "id": name}]})}
        files = {"f": ("a.png", fake_png({name: 0.8}, ()))}
        return await http.post("/v1/collections/c/documents/batch", data=body, files=files)

    shutil.rmtree(platform.root / "objects")
    platform = limited(pixels_per_minute=once // 2)  # a chat looks at it and reads it
    async with as_tenant(platform) as http:
        assert (await documents(http, "dog")).json()["data"][0]["status"] == "indexed"
        refused = await documents(http, "fox")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 50
        never = await http.post("/v1/chat/completions", json=CHAT)
        assert never.status_code == 200


async def test_what_never_fits_is_not_asked_for_again(limited):
    async with as_tenant(limited(tokens_per_minute=5)) as http:
        refused = await http.post("/v1/chat/completions", json=CHAT)
        assert refused.status_code == 429
        assert "too large" in refused.json()["error"]["message"]
        assert "retry-after" not in refused.headers
        assert refused.headers["x-should-retry"] == "false"
