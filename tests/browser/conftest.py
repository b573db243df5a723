"""The playground in a real headless Chromium, over the fake platform and real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_platform import Platform, build_platform, serving
from playwright.sync_api import Browser, Page
from served_models import moderation_models, served_models, voice_model

from browser.real_media import RealPerception
from browser.windows import Windows, launched
from serving.access.config import AccessConfig
from serving.access.keys import KeyStore
from serving.config import ChatModel, GatewayConfig
from serving.identity import ALL_SCOPES


@dataclass(frozen=True)
class Site:
    """A platform behind HTTP, and its address."""

    platform: Platform
    url: str

    def key(self, tenant: str = "default", scopes: frozenset[str] = ALL_SCOPES) -> str:
        """A new API key."""
        keys = KeyStore(self.platform.storage.objects, self.platform.gateway.config.cache_secret)
        return keys.create("", tenant, scopes)[1]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; each gets a window of its own."""
    with launched() as browser:
        yield browser


@pytest.fixture
def config() -> GatewayConfig:
    """The laptop profile's models."""
    return GatewayConfig(
        ChatModel("smollm2-135m-instruct", 2048, None),
        *served_models(),
        cache_secret=b"0123456789abcdef",
        **moderation_models(),
        voice_model=voice_model(),
    )


@pytest.fixture
def open_site(tmp_path: Path, config: GatewayConfig) -> Iterator[Callable[..., Site]]:
    """Platforms: ``open_site(access="keys")`` is one that needs a key."""
    with ExitStack() as running:

        def build(access: str = "open") -> Site:
            wanted = replace(config, access=AccessConfig(access))
            platform = build_platform(tmp_path, wanted, perception=RealPerception)
            return Site(platform, running.enter_context(serving(platform)))

        yield build


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    """A platform that needs no key."""
    return open_site()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a site in a window of its own: ``visit(site, "#/chat", color_scheme="dark")``. At the end of the test
    it is held against what no page may do; ``page.watch.expect(words)`` names what a test brings about on purpose.
    """
    windows = Windows(browser)

    def go(site: Site, route: str = "", **settings: Any) -> Page:
        return windows.open(site.url, route, **settings)

    yield go
    faults = windows.close()
    assert not faults, "\n".join(faults)


@pytest.fixture
def page(visit: Callable[..., Page], site: Site) -> Page:
    """The playground, just opened."""
    return visit(site)
