"""The library in the page: media come in, are looked through, found alike, laid out as a map, and deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from browser.conftest import Site
from browser.holdings import ask, held, searchable
from browser.real_media import film, picture, speech, written
from browser.windows import until


def test_media_come_in_and_are_known(visit: Callable[..., Page], site: Site, tmp_path: Path) -> None:
    page = visit(site, "#/library")
    expect(page.get_by_text("Nothing is here yet.")).to_be_visible()
    files = [
        written(tmp_path, "cat.png", picture({"cat": 0.8}, ("MEOW",))),
        written(tmp_path, "film.mp4", film([{"boat": 0.9}, {"cat": 0.9}], (1.0, 1.9, "ahoy"))),
        written(tmp_path, "talk.wav", speech((1.5, 3.0, "tea is hot"))),
        written(tmp_path, "silence.wav", speech()),
        written(tmp_path, "broken.png", b"no picture at all"),
    ]
    page.watch.expect("400")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add media").click()
    chooser.value.set_files(files)
    coming = page.get_by_role("region", name="Coming in")
    expect(coming.get_by_text("Can be found now")).to_have_count(3)
    expect(
        coming.get_by_text("Kept, but it cannot be found: Nothing in this medium can be searched")
    ).to_be_visible()
    expect(coming.locator(".chip.bad")).to_have_count(1)  # in the server's words
    expect(page.locator(".shelf-item")).to_have_count(4)
    expect(page.locator(".shelf-mark:visible")).to_have_count(1)
    expect(page.get_by_role("button", name="Make 1 medium searchable")).to_be_visible()
    page.get_by_role("button", name="Clear the list").click()
    expect(coming).to_be_hidden()

    page.get_by_role("link", name="cat.png").click()
    expect(page.get_by_role("heading", name="cat.png")).to_be_visible()
    expect(page.get_by_text("640 \N{MULTIPLICATION SIGN} 480")).to_be_visible()
    expect(page.locator(".known-text")).to_have_text("cat\nMEOW")
    page.get_by_text("Read the text in it").click()
    expect(page.get_by_role("list", name="Lines of text")).to_contain_text("MEOW")
    page.get_by_role("button", name="Take out of the search").click()
    expect(page.get_by_text("It cannot be found by searching yet")).to_be_visible()
    page.get_by_role("button", name="Make searchable").click()
    expect(page.get_by_role("button", name="Take out of the search")).to_be_visible()
    page.go_back()

    page.get_by_role("link", name="film.mp4").click()
    expect(page.get_by_role("list", name="Transcript")).to_contain_text("ahoy")
    expect(page.get_by_role("button", name="Play from 0:01: cat")).to_be_visible()
    page.get_by_role("list", name="Transcript").get_by_role("button", name="Play from 0:01").click()
    until(page, "document.querySelector('video')?.currentTime >= 1")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("film.mp4 was deleted.")).to_be_visible()
    expect(page.locator(".shelf-item")).to_have_count(3)
    assert len(ask(site, "GET", "/v1/media")["data"]) == 3


def test_media_are_dropped_and_pasted(visit: Callable[..., Page], site: Site) -> None:
    page = visit(site, "#/library")
    expect(page.get_by_text("Nothing is here yet.")).to_be_visible()
    give(page, "drop", "dataTransfer", "dropped.png", picture({"cat": 0.8}))
    coming = page.get_by_role("region", name="Coming in")
    expect(coming.get_by_text("Can be found now")).to_have_count(1)
    give(page, "paste", "clipboardData", "pasted.png", picture({"rocket": 0.8}))
    expect(coming.get_by_text("Can be found now")).to_have_count(2)
    expect(page.locator(".shelf-name")).to_have_text(["Picture: pasted.png", "Picture: dropped.png"])
    give(page, "drop", "dataTransfer", "beside.png", picture({"boat": 0.8}), on="header.bar")
    expect(coming.get_by_text("Can be found now")).to_have_count(3)
    page.route("**/v1/collections/library/documents", lambda route: None)  # no answer comes
    give(page, "drop", "dataTransfer", "stopped.png", picture({"boat": 0.7}))
    expect(coming.get_by_text("Being looked at and listened to")).to_be_visible()
    coming.get_by_role("button", name="Stop stopped.png").click()
    expect(coming.get_by_text("Stopped: it is kept, but it cannot be found")).to_be_visible()
    page.unroute_all(behavior="ignoreErrors")
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="Search")).to_be_visible()
    give(page, "paste", "clipboardData", "searched by.png", picture({"cat": 0.7}))
    expect(page.locator(".hit-name").first).to_contain_text("dropped.png")
    page.get_by_role("link", name="Library", exact=True).click()
    expect(page.locator(".shelf-item")).to_have_count(4)  # what is pasted into the search is not kept here


def give(
    page: Page, event: str, field: str, name: str, content: bytes, on: str = "main .view :is(input, .shelf)"
) -> None:
    """Drop or paste a file on what is shown."""
    page.locator(on).first.evaluate(
        """(target, [event, field, name, bytes]) => {
            const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
            target.dispatchEvent(new (event === 'drop' ? DragEvent : ClipboardEvent)(
                event, { [field]: given, bubbles: true, cancelable: true },
            ));
        }""",
        [event, field, name, list(content)],
    )


def test_what_is_alike(visit: Callable[..., Page], site: Site) -> None:
    first = searchable(site, "one.png", picture({"cat": 0.8}))
    searchable(site, "two.png", picture({"cat": 0.8}))
    searchable(site, "other.png", picture({"rocket": 0.8}))
    page = visit(site, f"#/library/{first}")
    expect(page.get_by_role("heading", name="Looks the same")).to_be_visible()
    alike = page.get_by_role("region", name="What is like it")
    expect(alike.get_by_text("the very same bytes")).to_have_count(1)
    expect(alike.get_by_role("link", name="two.png")).to_be_visible()
    expect(alike.get_by_role("link", name="other.png")).to_have_count(0)
    page = visit(site, "#/library/file-" + "0" * 32)
    page.watch.expect("404")
    expect(page.get_by_text("No media with this id was found")).to_be_visible()


def test_pages_kinds_and_all_made_searchable(visit: Callable[..., Page], site: Site) -> None:
    for number in range(4):
        held(site, f"p{number}.png", picture({"cat": 0.8}, size=(16 + number, 16)))
    held(site, "talk.wav", speech((0.0, 1.0, "tea is hot")))
    page = visit(site)
    page.route(
        "**/v1/media?*", lambda route: route.continue_(url=route.request.url.replace("limit=24", "limit=3"))
    )
    page.get_by_role("link", name="Library", exact=True).click()
    expect(page.locator(".shelf-item")).to_have_count(3)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".shelf-item")).to_have_count(5)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    page.get_by_role("button", name="Recordings").click()
    expect(page.locator(".shelf-item")).to_have_count(1)
    page.get_by_role("button", name="Make 1 medium searchable").click()
    expect(page.locator(".shelf-mark:visible")).to_have_count(0)
    page.get_by_role("button", name="Recordings").click()
    page.get_by_role("button", name="Make 2 media searchable").click()
    expect(page.locator(".shelf-mark:visible")).to_have_count(0)
    expect(page.get_by_role("button", name="searchable")).to_be_hidden()
    assert ask(site, "GET", "/v1/collections/library")["documents"] == 3


def test_a_map_by_mouse_and_by_keyboard(visit: Callable[..., Page], site: Site) -> None:
    page = visit(site, "#/library/map")
    expect(page.get_by_text("There is nothing to place yet.")).to_be_visible()
    for number in range(4):
        searchable(site, f"cat {number}.png", picture({"cat": 0.8}, size=(64 + number, 64)))
    searchable(site, "boat.mp4", film([{"boat": 0.9}]))
    searchable(site, "sea.wav", speech((0.0, 1.0, "the boat")))
    page.reload()
    page.get_by_label("Number of groups").select_option("2")
    expect(page.get_by_text("6 things in 2 groups.")).to_be_visible()
    points = page.locator(".map-point")
    expect(points).to_have_count(6)
    expect(page.locator(".map-picture")).to_have_count(5)  # of the recording there is none
    expect(page.get_by_role("heading", name="Group 1: 4 things")).to_be_visible()

    page.get_by_role("button", name="Video boat.mp4 in group 2").click()
    preview = page.locator(".map-preview")
    expect(preview.get_by_role("link", name="Details")).to_be_visible()
    expect(preview).to_contain_text("boat.mp4")
    expect(page.locator(".map-point[tabindex='0']")).to_have_count(1)
    seen = set()
    for key in ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown") * 2:
        page.keyboard.press(key)
        seen.add(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert len(seen) > 1
    page.keyboard.press("Enter")
    expect(preview).to_contain_text(
        page.evaluate("document.activeElement.querySelector('title').textContent").split(" ")[1]
    )

    page.get_by_role("listitem").filter(has_text="Group 2").get_by_role(
        "button", name="Show on the map"
    ).click()
    expect(page.locator(".map-point.dim")).to_have_count(4)
    page.get_by_role("link", name="cat 1.png").first.click()
    expect(page.get_by_role("heading", name="cat 1.png")).to_be_visible()
