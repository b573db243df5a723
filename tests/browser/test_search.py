"""Search in the page: by words, a picture, a recording, and what was found; moments play from their second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from browser.conftest import Site
from browser.holdings import held, searchable, write_text
from browser.real_media import film, picture, speech, written
from browser.windows import record, recording, until


@pytest.fixture
def filled(site: Site) -> Site:
    """Pictures, a film, a recording and a text."""
    searchable(site, "rocket.png", picture({"rocket": 0.9}))
    searchable(site, "cat.png", picture({"cat": 0.8}, ("MEOW",)))
    searchable(
        site,
        "film.mp4",
        film([{"boat": 0.9}, {"cat": 0.9}, {"rocket": 0.9}, {"boat": 0.7}], (0.2, 0.9, "hello there")),
    )
    searchable(site, "talk.wav", speech((1.5, 3.0, "the rocket is ready")))
    write_text(site, "hello there said the cat", id="letter")
    return site


def look_for(page: Page, words: str) -> None:
    field = page.get_by_role("searchbox", name="Describe what you look for")
    field.fill(words)
    field.press("Enter")


def results(page: Page) -> list[str]:
    """Names of what is shown, once the search is over."""
    expect(page.locator(".search-summary")).not_to_contain_text("Searching")
    return page.locator(".hit-name").all_inner_texts()


def test_words_find_all_kinds_and_videos_play_from_the_second(
    visit: Callable[..., Page], filled: Site
) -> None:
    page = visit(filled, "#/search")
    expect(page.get_by_role("heading", name="Search", level=1)).to_be_visible()
    look_for(page, "rocket")
    expect(page.locator(".search-summary")).to_contain_text("5 results")
    assert set(results(page)[:2]) == {"rocket.png", "film.mp4"}

    film_card = page.get_by_role("listitem").filter(has=page.get_by_text("film.mp4", exact=True)).first
    film_card.get_by_role("button", name="Play from 0:02: rocket").click()
    video = film_card.locator("video")
    expect(video).to_have_js_property("paused", False)
    until(page, "document.querySelector('video').currentTime >= 2")

    talk = page.get_by_role("listitem").filter(has=page.get_by_text("talk.wav", exact=True)).first
    talk.get_by_role("button", name="Play from 0:01: “the rocket is ready”").click()
    until(page, "document.querySelector('audio').currentTime >= 1.5")
    expect(video).to_have_js_property("paused", True)  # one at a time

    page.get_by_role("button", name="Pictures").click()
    expect(page.locator(".hit")).to_have_count(2)
    assert results(page) == ["rocket.png", "cat.png"]
    page.reload()  # the address says what was looked for
    expect(page.locator(".hit")).to_have_count(2)
    expect(page.get_by_role("button", name="Pictures")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("searchbox")).to_have_value("rocket")

    page.get_by_role("button", name="Pictures").click()
    page.get_by_label("by", exact=True).select_option("words only")
    look_for(page, "hello")
    expect(page.locator(".search-summary")).to_contain_text("2 results")
    expect(page.locator(".search-summary")).to_contain_text("BM25")
    look_for(page, "xylophone")
    expect(page.locator(".search-summary")).to_have_text("Nothing was found.")


def test_a_picture_or_a_recording_is_searched_by(
    visit: Callable[..., Page], filled: Site, tmp_path: Path
) -> None:
    page = visit(filled, "#/search")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search by a file").click()
    chooser.value.set_files(written(tmp_path, "mine.png", picture({"cat": 0.6}, size=(64, 48))))
    expect(page.locator(".search-summary")).to_contain_text("Seen in yours: cat 60 %")
    assert results(page)[0] in ("cat.png", "film.mp4")
    page.get_by_role("button", name="Search without mine.png").click()
    expect(page.get_by_text("mine.png")).to_have_count(0)

    record(page, "Record a sentence to search by")
    expect(page.get_by_role("searchbox")).to_have_value("hello there")
    expect(page.locator(".hit-name").first).to_contain_text("film.mp4")

    drop(page, "d.png", "image/png", picture({"rocket": 0.7}, size=(64, 48)))
    expect(page.locator(".search-summary")).to_contain_text("Seen in yours: rocket 70 %")
    drop(page, "d.txt", "text/plain", b"x")
    expect(page.get_by_role("alert")).to_contain_text("One can search by a picture, a recording or a video.")


def test_who_goes_away_is_not_recorded_any_more(visit: Callable[..., Page], site: Site) -> None:
    page = visit(site, "#/search")
    heard: list[str] = []
    page.on("request", lambda request: heard.append(request.url))
    recording(page, "Record a sentence to search by")
    page.get_by_role("link", name="Library", exact=True).click()
    expect(page.get_by_text("Nothing is here yet.")).to_be_visible()
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.get_by_role("button", name="Record a sentence to search by")).to_be_enabled()
    assert not [url for url in heard if "transcriptions" in url]


def drop(page: Page, name: str, kind: str, content: bytes) -> None:
    """Drop a file on the box."""
    given = page.evaluate_handle(
        """([name, type, bytes]) => {
            const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(bytes)], name, { type }));
            return given;
        }""",
        [name, kind, list(content)],
    )
    page.locator(".query").dispatch_event("drop", {"dataTransfer": given})


def test_more_like_this_and_back(visit: Callable[..., Page], filled: Site) -> None:
    page = visit(filled, "#/search?q=rocket")
    page.get_by_role("listitem").filter(has=page.get_by_text("rocket.png", exact=True)).get_by_role(
        "link", name="More like this"
    ).click()
    expect(page.get_by_text("More like rocket.png")).to_be_visible()
    expect(page.locator(".hit-name").first).to_contain_text("film.mp4")
    assert "rocket.png" not in results(page)
    page.locator(".hit").first.get_by_role("link", name="Details").click()
    expect(page.get_by_role("heading", name="film.mp4")).to_be_visible()
    until(page, "document.querySelector('video')?.currentTime >= 2")  # the moment that fits
    page.go_back()
    expect(page.get_by_text("More like rocket.png")).to_be_visible()
    page.get_by_role("listitem").filter(has=page.get_by_text("film.mp4", exact=True)).first.get_by_role(
        "link", name="Ask about it"
    ).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Chat")


def test_pages_and_where_there_is_nothing(visit: Callable[..., Page], site: Site) -> None:
    page = visit(site, "#/search")
    page.get_by_role("link", name="Open the library").click()
    expect(page.get_by_text("Nothing is here yet.")).to_be_visible()
    for number in range(14):
        write_text(site, f"apple number {number}", id=f"t{number:02}")
    page.get_by_role("link", name="Search", exact=True).click()
    page.reload()
    expect(page.get_by_label("in", exact=True)).to_have_value("library")
    look_for(page, "apple")
    expect(page.locator(".hit")).to_have_count(12)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".hit")).to_have_count(14)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_who_is_quicker_than_the_page(visit: Callable[..., Page], filled: Site) -> None:
    page = visit(filled)
    held_back: list[Route] = []
    page.route("**/v1/collections", lambda route: held_back.append(route))
    with page.expect_request("**/v1/collections"):
        page.get_by_role("link", name="Search", exact=True).click()
    look_for(page, "rocket")
    expect(page.get_by_role("searchbox")).to_have_value("rocket")
    for route in held_back:
        route.continue_()
    expect(page.locator(".hit")).to_have_count(5)
    expect(page.locator(".search-summary")).to_contain_text("5 results")


def test_pictures_and_players_where_a_key_is_needed(
    visit: Callable[..., Page], open_site: Callable[..., Site]
) -> None:
    site = open_site(access="keys")
    key = site.key(tenant="ours")
    headers = {"authorization": f"Bearer {key}"}
    searchable(site, "film.mp4", film([{"boat": 0.9}, {"cat": 0.9}]), headers=headers)
    held(site, "cat.png", picture({"cat": 0.8}), headers=headers)
    page = visit(site, "#/search?q=cat")
    page.watch.expect("401")
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_label("Key", exact=True).press("Enter")
    page.get_by_role("button", name="Play from 0:01: cat").click()
    until(page, "document.querySelector('video')?.currentTime >= 1")
    assert key not in page.locator("video").get_attribute("src")
    page.get_by_role("link", name="Library", exact=True).click()
    expect(page.locator(".shelf-item img")).to_have_count(2)
    until(page, "[...document.querySelectorAll('.shelf-item img')].every(image => image.naturalWidth > 0)")
    page.get_by_role("button", name="API key: in use").click()
    page.get_by_label("Key", exact=True).fill(site.key(tenant="theirs"))
    page.get_by_label("Key", exact=True).press("Enter")
    expect(page.get_by_text("Nothing is here yet.")).to_be_visible()  # what others keep does not stay
    expect(page.locator(".shelf-item")).to_have_count(0)
