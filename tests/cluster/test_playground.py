"""The playground as a visitor walks through it, over real models. ``--screenshots DIR`` keeps pictures of the walk:
those of README (``docs/images``) are made this way.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.windows import Windows, launched, until
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from deploy.demo.samples import Samples

from .conftest import RunningPlatform

pytestmark = pytest.mark.cluster

PATIENCE_MILLISECONDS = 120_000  # two cores may be hearing, seeing and writing for several at once
MOST_BYTES = 200_000

Snap = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, platform: RunningPlatform) -> Iterator[Callable[..., Page]]:
    windows = Windows(browser, PATIENCE_MILLISECONDS)

    def go(route: str = "", **settings: object) -> Page:
        return windows.open(platform.base_url, route, **settings)

    yield go
    faults = windows.close()
    assert not faults, "\n".join(faults)


@pytest.fixture
def snap(request: pytest.FixtureRequest) -> Snap:
    """Keep a picture of a page where ``--screenshots`` says; else nothing is kept."""
    folder = request.config.getoption("--screenshots")

    def keep(page: Page, name: str) -> None:
        if folder is None:
            return
        shot = Image.open(io.BytesIO(page.screenshot()))
        path = Path(folder) / f"playground-{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shot.convert("RGB").quantize(colors=192).save(path, optimize=True)
        assert path.stat().st_size < MOST_BYTES, f"{path} is too large for the repository"

    return keep


def shown(page: Page, what: Locator) -> None:
    """Bring ``what`` into the middle of the window, for a picture."""
    what.evaluate("element => element.scrollIntoView({ block: 'center' })")
    until(
        page,
        "[...document.images].filter(i => i.getBoundingClientRect().top < innerHeight).every(i => i.complete)",
    )


def test_a_walk_through_the_playground(visit: Callable[..., Page], samples: Samples, snap: Snap) -> None:
    patience = {"timeout": PATIENCE_MILLISECONDS}
    page = visit("#/chat", color_scheme="light")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach images, audio or video").click()
    chooser.value.set_files([samples.pictures["sign"], samples.pictures["coffee"], samples.video])
    for name in ("sign.png", "coffee", "video.mp4"):
        expect(page.get_by_role("listitem").filter(has_text=name)).to_contain_text("file-", **patience)
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Longest answer (tokens)").fill("60")
    page.get_by_label("Temperature").fill("0")
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Your question").fill("What do you see?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copy the answer")).to_be_visible(**patience)

    sign = page.get_by_role("region", name="What was used of sign.png")
    sign.get_by_role("button", name="of text").click()
    expect(sign.locator("polygon").first).to_be_visible(**patience)
    video = page.get_by_role("region", name="What was used of video.mp4")
    video.get_by_role("button", name="passages").click()
    passage = video.locator(".transcript").get_by_role("button").nth(1)
    expect(passage).to_be_visible(**patience)
    passage.click()
    until(page, "document.querySelector('.evidence video').currentTime > 1")
    shown(page, sign)
    snap(page, "chat")
