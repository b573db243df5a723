"""Chromium, and windows of it that are watched."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from browser.chromium import chromium_program
from browser.watch import Watch

__all__ = ["PATIENCE_MILLISECONDS", "Windows", "eventually", "launched", "record", "recording", "until"]

PATIENCE_MILLISECONDS = 60_000  # of a busy machine; what is there is seen at once
expect.set_options(timeout=PATIENCE_MILLISECONDS)

_ARGUMENTS = (
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)
_ALLOWED = ("microphone", "clipboard-read", "clipboard-write")


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless Chromium; skips with the reason where there is none."""
    program = chromium_program()
    if program is None:
        pytest.skip("no Chromium: run `make browser` as root, or name one in MANYMODAL_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=list(_ARGUMENTS),
            chromium_sandbox=os.geteuid() != 0,  # Chromium's does not work as root
            timeout=PATIENCE_MILLISECONDS,
        )
        yield browser
        browser.close()


def until(page: Page, condition: str, patience_milliseconds: int = PATIENCE_MILLISECONDS) -> None:
    """Return once the JavaScript ``condition`` holds. Playwright's own ``wait_for_function`` would evaluate it
    inside the page, whose policy forbids that.
    """
    eventually(page, lambda: page.evaluate(condition), condition, patience_milliseconds)


def eventually(
    page: Page,
    holds: Callable[[], object],
    words: str = "",
    patience_milliseconds: int = PATIENCE_MILLISECONDS,
) -> None:
    """Return once ``holds()``; ``words`` say what it is. The page goes on meanwhile."""
    deadline = time.monotonic() + patience_milliseconds / 1000
    while not holds():
        assert time.monotonic() < deadline, f"it never came to this: {words}"
        page.wait_for_timeout(50)


def record(page: Page, button: str = "Record from the microphone") -> None:
    """Record a second or more of the beeping microphone."""
    recording(page, button).click()


def recording(page: Page, button: str = "Record from the microphone") -> Locator:
    """Begin to record, and wait until there is a second or more; what stops it."""
    page.get_by_role("button", name=button).click()
    stop = page.get_by_role("button", name="Stop recording")
    expect(stop).to_contain_text(re.compile("[0-9]:(0[1-9]|[1-5][0-9])"))
    return stop


class Windows:
    """Windows of a browser. ``faults`` is what was wrong in any of them (``Watch``)."""

    def __init__(self, browser: Browser, patience_milliseconds: int = PATIENCE_MILLISECONDS) -> None:
        self._browser = browser
        self._patience = patience_milliseconds
        self._opened: list[tuple[BrowserContext, Watch]] = []

    def open(self, url: str, route: str = "", **settings: Any) -> Page:
        """``route`` of the playground at ``url`` in a window of its own; nothing is kept from others. Its ``watch``
        is told what is brought about on purpose.
        """
        shape = {
            "locale": "en-GB",
            "viewport": {"width": 1280, "height": 800},
            "reduced_motion": "reduce",  # else one may look while a colour is on its way to another
        }
        context = self._browser.new_context(**shape | settings, permissions=list(_ALLOWED))
        context.set_default_timeout(self._patience)
        page = context.new_page()
        watch = Watch(page, url)
        page.watch = watch  # goes with the page to whoever drives it
        self._opened.append((context, watch))
        page.goto(f"{url}/{route}")
        return page

    def close(self) -> list[str]:
        """Close them all, and tell their faults."""
        faults = [fault for _, watch in self._opened for fault in watch.faults()]
        for context, _ in self._opened:
            context.close()
        return faults
