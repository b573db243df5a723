"""The playground as a visitor walks through it, over real models. ``--screenshots DIR`` keeps pictures of the walk:
those of README (``docs/images``) are made this way.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.windows import Windows, launched, record, until
from PIL import Image
from playwright.sync_api import Browser, Page, expect

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


def settled(page: Page) -> None:
    """All pictures that one sees are there."""
    until(
        page,
        """[...document.querySelectorAll('img, .thumb:is([data-kind=image], [data-kind=video]) .thumb-picture')]
             .filter(one => one.getBoundingClientRect().top < innerHeight && one.checkVisibility())
             .every(one => one.complete && one.naturalWidth)""",
    )


def test_a_walk_through_the_playground(visit: Callable[..., Page], samples: Samples, snap: Snap) -> None:
    page = visit("#/library", color_scheme="light", viewport={"width": 1280, "height": 860})
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add media").click()
    chooser.value.set_files([*samples.pictures.values(), samples.speech, samples.video])
    count = len(samples.pictures) + 2
    coming = page.get_by_role("region", name="Coming in")
    expect(coming.get_by_text("Can be found now")).to_have_count(count, timeout=PATIENCE_MILLISECONDS)
    page.get_by_role("button", name="Clear the list").click()
    expect(page.locator(".shelf-item img")).to_have_count(count - 1)
    expect(page.locator(".unsearchable")).to_have_count(0)
    settled(page)
    snap(page, "library")
    page.get_by_role("link", name="Map").click()
    expect(page.locator(".map-point")).to_have_count(count)
    page.locator(".map-point").first.click()
    settled(page)
    snap(page, "map")

    page.goto(page.url.partition("#")[0] + "#/search?q=a%20cat")
    hits = page.get_by_role("list", name="Results").locator("> li")
    expect(hits.first).to_contain_text("cat")
    expect(
        hits.filter(has_text="video.mp4").get_by_role("button", name="Play from 0:0").first
    ).to_be_visible()
    settled(page)
    snap(page, "search")

    page.get_by_role("link", name="Chat", exact=True).click()
    record(page)
    recording = page.get_by_role("listitem").filter(has_text="recording-")
    expect(recording).to_contain_text(
        "file-", timeout=PATIENCE_MILLISECONDS
    )  # the browser's own WebM is read
    recording.get_by_role("button", name="Remove").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach images, audio or video").click()
    chooser.value.set_files([samples.pictures["sign"], samples.video])
    for name in ("sign.png", "video.mp4"):
        expect(page.get_by_role("listitem").filter(has_text=name)).to_contain_text("file-")
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Longest answer (tokens)").fill("60")
    page.get_by_label("Temperature").fill("0")
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Your question").fill("What do you see and hear?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copy the answer")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    sign = page.get_by_role("region", name="What was used of sign.png")
    sign.get_by_role("button", name="of text").click()
    expect(sign.locator("polygon").first).to_be_visible()
    video = page.get_by_role("region", name="What was used of video.mp4")
    video.get_by_role("button", name="passages").click()
    passage = video.locator(".transcript").get_by_role("button").nth(1)
    expect(passage).to_be_visible()
    page.set_viewport_size({"width": 1280, "height": 1120})
    page.get_by_role("article", name="Answer").evaluate("one => window.scrollTo(0, one.offsetTop - 80)")
    settled(page)
    snap(page, "chat")
    passage.click()
    until(page, "document.querySelector('.evidence video').currentTime > 1")

    page.emulate_media(color_scheme="dark")
    page.get_by_role("link", name="Status").click()
    page.set_viewport_size({"width": 1280, "height": 860})
    expect(page.get_by_role("region", name="Memory", exact=True)).to_contain_text("GB of")
    expect(page.get_by_role("row").filter(has_text="engine").first).to_contain_text("healthy")
    tokens = page.get_by_role("region", name="Tokens per second")
    expect(tokens.locator("path")).to_have_count(1)  # two readings make a line
    snap(page, "status")
