"""Search, library, map and status for everybody: axe in light and dark, wide and on a phone; by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from browser.access import violations
from browser.conftest import Site
from browser.holdings import searchable, write_text
from browser.real_media import film, picture, speech
from browser.windows import until

PHONE: ViewportSize = {"width": 375, "height": 740}
WIDE: ViewportSize = {"width": 1280, "height": 800}


@pytest.fixture
def filled(site: Site) -> Site:
    searchable(
        site, "a picture with quite a long name that does not fit.png", picture({"rocket": 0.9}, ("WORDS",))
    )
    searchable(
        site, "film.mp4", film([{"boat": 0.9}, {"rocket": 0.9}], (0.2, 0.9, "a rocket is what one sees here"))
    )
    searchable(site, "talk.wav", speech((1.5, 3.0, "the rocket is ready")))
    write_text(site, "The rocket flies. " * 30, id="letter")
    return site


def test_what_axe_finds(visit: Callable[..., Page], filled: Site) -> None:
    page = visit(filled, "#/search?q=rocket")
    expect(page.locator(".hit")).to_have_count(4)
    looked_at(page, "search")
    page.get_by_role("link", name="Library", exact=True).click()
    expect(page.locator(".shelf-item")).to_have_count(3)
    looked_at(page, "library")
    page.get_by_role("link", name="film.mp4").click()
    expect(page.get_by_role("list", name="Transcript")).to_be_visible()
    looked_at(page, "one medium")
    page.get_by_role("link", name="Map", exact=True).click()
    expect(page.locator(".map-point")).to_have_count(4)
    page.locator(".map-point").first.click()
    expect(page.locator(".map-preview").get_by_role("link").first).to_be_visible()
    looked_at(page, "map")
    page.get_by_role("link", name="Status", exact=True).click()
    expect(page.get_by_role("region", name="Queues of this gateway")).to_contain_text("engine")
    looked_at(page, "status")


def looked_at(page: Page, view: str) -> None:
    for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= size["width"], f"{view} is {wide} pixels wide"
        assert violations(page) == [], f"{view}, {scheme}, {size['width']}"
    page.set_viewport_size(WIDE)


def test_by_keyboard_alone(visit: Callable[..., Page], filled: Site) -> None:
    page = visit(filled, "#/search")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("ready")
    page.keyboard.press("Enter")
    expect(page.locator(".hit")).to_have_count(4)
    reach(page, "Play from 0:01: “the rocket is ready”")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('audio')?.currentTime >= 1.5")
    reach(page, "Details")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2)).to_be_visible()
    reach(page, "Map", back=True)
    page.keyboard.press("Enter")
    expect(page.locator(".map-point")).to_have_count(4)
    page.locator(".map-point[tabindex='0']").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".map-preview").get_by_role("link").first).to_be_visible()


def reach(page: Page, name: str, back: bool = False) -> None:
    """Go on with Tab until what has this name has the focus."""
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        told = page.evaluate(
            "[document.activeElement.getAttribute('aria-label'), document.activeElement.textContent]"
        )
        if name in told:
            return
    raise AssertionError(f"{name!r} cannot be reached")
