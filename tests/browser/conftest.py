"""The playground in a real headless Chromium, over the fake platform and real HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_platform import Platform, build_platform, serving
from playwright.sync_api import Browser, Page, sync_playwright
from served_models import moderation_models, served_models, voice_model

from browser.chromium import chromium_program
from browser.real_media import RealPerception
from browser.watch import Watch
from serving.access.config import AccessConfig
from serving.access.keys import KeyStore
from serving.config import ChatModel, GatewayConfig
from serving.identity import ALL_SCOPES

PATIENCE_MILLISECONDS = 60_000  # of a busy machine; what is there is seen at once
ARGUMENTS = (
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)


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
    program = chromium_program()
    if program is None:
        pytest.skip("no Chromium: run `make browser` as root, or name one in MANYMODAL_CHROMIUM")
    with sync_playwright() as playwright:
        sandbox = os.geteuid() != 0  # Chromium's does not work as root
        browser = playwright.chromium.launch(
            executable_path=program,
            args=list(ARGUMENTS),
            chromium_sandbox=sandbox,
            timeout=PATIENCE_MILLISECONDS,
        )
        yield browser
        browser.close()


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
    opened: list[tuple[Any, Watch]] = []

    def go(site: Site, route: str = "", **settings: Any) -> Page:
        settings = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, **settings}
        context = browser.new_context(
            **settings, permissions=["microphone", "clipboard-read", "clipboard-write"]
        )
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        page.watch = Watch(page, site.url)  # type: ignore[attr-defined]
        opened.append((context, page.watch))  # type: ignore[attr-defined]
        page.goto(f"{site.url}/{route}")
        return page

    yield go
    faults = [fault for _, watch in opened for fault in watch.faults()]
    for context, _ in opened:
        context.close()
    assert not faults, "\n".join(faults)


@pytest.fixture
def page(visit: Callable[..., Page], site: Site) -> Page:
    """The playground, just opened."""
    return visit(site)
