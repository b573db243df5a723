"""What one tenant may use: at, below and above every limit; told in headers, refused in OpenAI's form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import openai
import pytest
from fake_platform import Platform, build_platform, http_client, openai_client

from serving.identity import CALLER_KEY, Caller
from serving.limits.config import TenantLimits
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
        while not condition():
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
