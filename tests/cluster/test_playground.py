"""The playground as a visitor walks through it, over real models. ``--screenshots DIR`` keeps pictures of the walk:
those of README (``docs/images``) are made this way.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.windows import Windows, launched, record, until
from openai import OpenAI
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from deploy.demo.samples import Samples

from .conftest import RunningPlatform

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]  # the start of the platform is in it

PATIENCE_MILLISECONDS = 120_000  # two cores may be hearing, seeing and writing for several at once
MOST_BYTES = 200_000

_WIDTH = 1280  # of a window, in pixels
_OURS = "[...document.querySelectorAll('.shelf > li')].slice(0, {})"
_QUESTIONS = ("Write about the sea.", "How is coffee made?")

Snap = Callable[..., None]


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
    """``snap(page, name, width=, height=)`` keeps a picture of a page where ``--screenshots`` says."""
    folder = request.config.getoption("--screenshots")

    def keep(page: Page, name: str, height: int, width: int = _WIDTH) -> None:
        page.set_viewport_size({"width": width, "height": height})
        settled(page)
        if folder is None:
            return
        shot = Image.open(io.BytesIO(page.screenshot()))
        path = Path(folder) / f"playground-{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shot.convert("RGB").quantize(colors=192).save(path, optimize=True)
        assert path.stat().st_size < MOST_BYTES, f"{path} is too large for the repository"

    return keep


@pytest.fixture
def traffic(request: pytest.FixtureRequest, client: OpenAI) -> Callable[[], None]:
    """Asks this and that, so that a picture of the plots shows some; nothing where no pictures are kept."""

    def ask() -> None:
        for question in _QUESTIONS if request.config.getoption("--screenshots") else ():
            messages = [{"role": "user", "content": question}]
            with client.chat.completions.create(
                model="default", messages=messages, max_tokens=24, stream=True
            ) as answer:
                assert sum(1 for _ in answer) > 1

    return ask


def settled(page: Page) -> None:
    """All pictures that one sees are there. What lies beyond the edge of the window, or of a row that scrolls by
    itself, is not seen, and comes only when somebody goes there.
    """
    until(
        page,
        """new Promise((done) => {
             const all = document.querySelectorAll(
               'img, .thumb:is([data-kind=image], [data-kind=video]) .thumb-picture');
             const watcher = new IntersectionObserver((entries) => {
               watcher.disconnect();
               const seen = entries.filter((one) => one.isIntersecting);
               done(seen.every(({ target }) => target.complete && target.naturalWidth > 0));
             });
             all.forEach((one) => watcher.observe(one));
             if (!all.length) done(true);
           })""",
    )


def test_a_walk_through_the_playground(
    visit: Callable[..., Page], samples: Samples, snap: Snap, traffic: Callable[[], None]
) -> None:
    status = visit("#/status", color_scheme="dark")  # watched by somebody all the while
    page = visit("#/library", color_scheme="light")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add media").click()
    chooser.value.set_files([*samples.pictures.values(), samples.speech, samples.video])
    count = len(samples.pictures) + 2
    coming = page.get_by_role("region", name="Coming in")
    expect(coming.get_by_text("Can be found now")).to_have_count(count, timeout=PATIENCE_MILLISECONDS)
    page.get_by_role("button", name="Clear the list").click()
    # The newest come first. Other tests of this platform have left media of their own behind them.
    until(page, f"{_OURS.format(count)}.filter((one) => one.querySelector('img')).length === {count - 1}")
    until(page, f"{_OURS.format(count)}.every((one) => one.querySelector('.shelf-mark').hidden)")
    page.mouse.move(0, 0)  # nothing is under it
    snap(page, "library", height=580)
    page.get_by_role("link", name="Map").click()
    expect(page.locator(".map-point")).to_have_count(count)
    expect(page.locator(".map-picture")).to_have_count(count - 1)
    page.get_by_role("button", name="Picture rocket.jpg").click()
    expect(page.locator(".map-card")).to_contain_text("rocket.jpg")
    snap(page, "map", height=860)

    page.goto(page.url.partition("#")[0] + "#/search?q=a%20rocket%20taking%20off")
    hits = page.get_by_role("list", name="Results").locator("> li")
    expect(hits.first).to_contain_text("rocket")
    moment = hits.filter(has_text="video.mp4").get_by_role("button", name="Play from 0:12").first
    expect(moment).to_be_visible()
    snap(page, "search", height=770)
    moment.click()
    until(page, "document.querySelector('.hit video').currentTime >= 12")

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
    page.get_by_label("Your question").fill("When does the museum open?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copy the answer")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    expect(page.get_by_role("article", name="Answer")).to_contain_text("9:00")
    sign = page.get_by_role("region", name="What was used of sign.png")
    sign.get_by_role("button", name="of text").click()
    expect(sign.locator("polygon").first).to_be_visible()
    video = page.get_by_role("region", name="What was used of video.mp4")
    video.get_by_role("button", name="passages").click()
    passage = video.locator(".transcript").get_by_role("button").nth(1)
    expect(passage).to_be_visible()
    page.set_viewport_size({"width": 1000, "height": 1320})
    sign.get_by_role("list", name="Lines of text").get_by_role("listitem").nth(1).hover()
    expect(sign.locator("polygon.marked")).to_have_count(1)
    snap(page, "chat", height=1320, width=1000)
    passage.click()
    until(page, "document.querySelector('.evidence video').currentTime > 1")

    traffic()
    expect(status.get_by_role("region", name="Memory", exact=True)).to_contain_text("GB of")
    expect(status.get_by_role("row").filter(has_text="engine").first).to_contain_text("healthy")
    tokens = status.get_by_role("region", name="Tokens per second")
    expect(tokens.locator("path")).not_to_have_count(0)
    expect(status.get_by_role("region", name="Time to first token")).to_contain_text(
        "Since the gateway started: p50"
    )
    snap(status, "status", height=846)
