"""Another key is another person, perhaps: what was said and listed with the one of before does not stay."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from browser.conftest import Site
from browser.holdings import ask, searchable
from browser.real_media import picture
from browser.windows import eventually

KEPT = "sessionStorage.getItem('manymodal.conversation') ?? ''"


def give(page: Page, key: str) -> None:
    """Into the dialog that asks for it."""
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_label("Key", exact=True).press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)


def change(page: Page, key: str) -> None:
    page.get_by_role("button", name="API key: in use").click()
    give(page, key)


def question(page: Page, words: str) -> None:
    page.get_by_label("Your question").fill(words)
    page.keyboard.press("Enter")


def answers(page: Page, count: int) -> None:
    expect(page.get_by_role("button", name="Copy the answer")).to_have_count(count)


def test_a_conversation_goes_with_its_key(visit: Callable[..., Page], open_site: Callable[..., Site]) -> None:
    site = open_site(access="keys")
    page = visit(site, "#/chat")
    page.watch.expect("401")
    page.get_by_role("button", name="Cancel").click()
    question(page, "Hello")
    give(page, site.key(tenant="ours"))
    answers(page, 1)  # the first key takes nothing away, though it came in the middle of a question
    expect(page.get_by_role("article", name="You")).to_have_text("Hello")
    assert "Hello" in page.evaluate(KEPT)

    site.platform.engine.words = ("secret ",) * 4000  # for minutes
    site.platform.engine.pause_seconds = 0.05
    question(page, "And then?")
    expect(page.get_by_role("article", name="Answer").last).to_contain_text("secret")
    page.get_by_label("Your question").fill("My draft")
    change(page, site.key(tenant="theirs"))
    expect(page.get_by_role("article")).to_have_count(0)
    expect(page.get_by_label("Your question")).to_have_value("")
    eventually(page, lambda: site.platform.engine.running == 0)  # nobody waits for that answer any more
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert "Hello" not in page.evaluate(KEPT)
    expect(page.get_by_text("secret")).to_have_count(0)

    site.platform.engine.words = ("Good", " day.")
    question(page, "Another")
    answers(page, 1)
    assert "Another" in page.evaluate(KEPT)
    page.goto(f"{site.url}/#/status")
    page.reload()  # the chat is not there at all
    expect(page.get_by_role("heading", level=1, name="Status")).to_have_count(1)
    page.get_by_role("button", name="API key: in use").click()
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_role("button", name="API key: none")).to_be_visible()
    assert "Another" not in page.evaluate(KEPT)


def test_what_there_is_to_search_is_listed_anew(
    visit: Callable[..., Page], open_site: Callable[..., Site]
) -> None:
    site = open_site(access="keys")
    ours, theirs = site.key(tenant="ours"), site.key(tenant="theirs")
    searchable(site, "cat.png", picture({"cat": 0.8}), headers={"authorization": f"Bearer {ours}"})
    document = {"text": "a letter", "id": "letter"}
    path = "/v1/collections/letters/documents"
    ask(site, "POST", path, json=document, headers={"authorization": f"Bearer {theirs}"})
    page = visit(site, "#/search?q=cat")
    page.watch.expect("401")
    give(page, ours)
    expect(page.locator(".hit")).to_have_count(1)
    places = page.get_by_label("in", exact=True).locator("option")
    expect(places).to_have_text(["library (1)"])
    change(page, theirs)
    expect(places).to_have_text(["letters (1)"])
    expect(page.locator(".hit")).to_have_count(0)
    field = page.get_by_role("searchbox", name="Describe what you look for")
    field.press("Enter")
    expect(page.locator(".hit")).to_contain_text(["a letter"])
    page.get_by_role("button", name="API key: in use").click()
    page.get_by_role("button", name="Forget the key").click()
    expect(places).to_have_count(0)
    field.press("Enter")  # whoever searches is asked
    give(page, ours)
    expect(places).to_have_text(["library (1)"])
    expect(page.locator(".hit")).to_have_count(1)


def test_a_remembered_key_that_one_tab_forgets_is_forgotten_in_all(
    visit: Callable[..., Page], open_site: Callable[..., Site]
) -> None:
    site = open_site(access="keys")
    first = visit(site, "#/chat")
    first.watch.expect("401")
    first.get_by_label("Remember it on this device").check()
    give(first, site.key(tenant="ours"))
    second = first.context.new_page()
    second.goto(f"{site.url}/#/chat")
    question(second, "Hello")
    answers(second, 1)  # with the key of the first
    first.get_by_role("button", name="API key: in use").click()
    first.get_by_role("button", name="Forget the key").click()
    expect(second.get_by_role("button", name="API key: none")).to_be_visible()
    expect(second.get_by_role("article")).to_have_count(0)
    assert "Hello" not in second.evaluate(KEPT)
