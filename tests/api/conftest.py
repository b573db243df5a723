"""Fixtures for the whole HTTP application in-process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import openai
import pytest
from fake_platform import Platform, build_platform, http_client, openai_client, serving
from served_models import moderation_models, served_models, voice_model

from serving.config import ChatModel, GatewayConfig, RequestLimits


@pytest.fixture
def limits() -> RequestLimits:
    """Small limits, so that tests of them are fast."""
    return RequestLimits(
        max_body_bytes=200_000,
        max_media_bytes=100_000,
        max_media_per_request=4,
        max_embedding_inputs=8,
        max_text_characters=2000,
        fetch_timeout_seconds=2.0,
        first_token_timeout_seconds=5.0,
        answer_timeout_seconds=5.0,
        stall_timeout_seconds=5.0,
    )


@pytest.fixture
def config(limits: RequestLimits) -> GatewayConfig:
    """The laptop profile's models."""
    return GatewayConfig(
        ChatModel("smollm2-135m-instruct", 2048, None),
        *served_models(),
        cache_secret=b"0123456789abcdef",
        allow_private_urls=True,
        limits=limits,
        **moderation_models(),
        voice_model=voice_model(),
    )


@pytest.fixture
def platform(tmp_path: Path, config: GatewayConfig) -> Platform:
    """A fresh platform."""
    return build_platform(tmp_path, config)


@pytest.fixture
def platform_with(tmp_path: Path, config: GatewayConfig) -> Callable[..., Platform]:
    """A platform with other limits: ``platform_with(stall_timeout_seconds=0.1)``."""

    def build(**limits: float) -> Platform:
        return build_platform(tmp_path, replace(config, limits=replace(config.limits, **limits)))

    return build


@pytest.fixture
async def http(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    """Plain HTTP into the app. What the app raises is not hidden: unhandled exceptions fail the test."""
    async with http_client(platform) as client:
        yield client


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client into the app."""
    async with openai_client(http_client(platform)) as client:
        yield client


@pytest.fixture
def live(platform: Platform) -> Iterator[str]:
    """The platform on a real socket, for what an in-process transport cannot show; gives the base URL."""
    with serving(platform) as url:
        yield url
