"""The shell: its files and headers, the views, the key, the theme, notices; nothing of it needs another server."""

from __future__ import annotations

import re
from dataclasses import replace

import httpx
from fake_platform import build_platform, serving
from playwright.sync_api import expect

from browser.access import violations
from serving.playground_files import web_files

VIEWS = ("Chat", "Search", "Library", "Status")


def test_the_page_and_its_files(site):
    with httpx.Client(base_url=site.url) as http:
        page = http.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = dict(
            part.partition(" ")[::2] for part in page.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["permissions-policy"].startswith("microphone=(self)")
        assert http.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
        assert http.head("/").headers["content-length"] == str(len(page.content))
        for name, file in web_files().items():
            answer = http.get(f"/assets/{name}")
            if name == "index.html":
                assert answer.status_code == 404
                continue
            assert (answer.status_code, answer.content) == (200, file.content)
            assert answer.headers["content-type"] == file.content_type
            assert answer.headers["content-security-policy"] == page.headers["content-security-policy"]
        for path in ("../app.py", "%2e%2e/app.py", "/etc/passwd", "vendor", "vendor/README.md", "", "x.js"):
            assert http.get(f"/assets/{path}").status_code == 404, path
        assert http.post("/").status_code == 405
        foreign = http.get("/", headers={"host": "evil.example"})
        assert (foreign.status_code, foreign.json()["error"]["code"]) == (400, "host_not_allowed")


def test_it_can_be_switched_off(tmp_path, config):
    with serving(build_platform(tmp_path, replace(config, playground=False))) as url:
        for path in ("/", "/assets/main.js"):
            assert httpx.get(url + path).json()["error"]["code"] == "unknown_url"
        assert httpx.get(f"{url}/v1/models").status_code == 200


def test_every_file_is_named_by_another():
    """Nothing lies there that no page loads, and nothing is loaded that is not there."""
    files = web_files()
    named = {"index.html"}
    for name, file in files.items():
        if name.startswith("vendor/") or name.endswith(".svg"):
            continue
        text = file.content.decode()
        named.update(re.findall(r'assets/([\w./-]+\.\w+)"', text))
        named.update(re.findall(r'(?:from|import\()\s*"\./([\w./-]+)"', text))
        named.update(name for name in re.findall(r'"([\w-]+\.css)"', text))
    assert named == set(files)


def test_views_by_address_and_by_the_bar(page):
    for title in VIEWS:
        page.get_by_role("link", name=title, exact=True).click()
        expect(page.get_by_role("heading", level=1, name=title)).to_have_count(1)
        expect(page).to_have_title(f"{title} · Manymodal")
        expect(page.get_by_role("link", name=title, exact=True)).to_have_attribute("aria-current", "page")
    page.go_back()
    expect(page).to_have_title("Library · Manymodal")
    page.goto(page.url.partition("#")[0] + "#/nowhere/at-all")
    expect(page).to_have_title("Chat · Manymodal")


def test_everybody_can_use_it(page):
    """The views that have something in them are held to this by tests of their own."""
    expect(page.get_by_role("combobox", name="Model")).to_have_value("smollm2-135m-instruct")
    page.get_by_role("button", name="Options").click()
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 760})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert violations(page) == [], (width, scheme)


def test_a_key_is_asked_for_and_kept_in_the_tab(visit, open_site):
    site = open_site("keys")
    page = visit(site)
    page.watch.expect("401")
    dialog = page.get_by_role("dialog", name="API key")
    expect(dialog).to_contain_text("This server needs an API key.")
    assert violations(page) == []
    dialog.get_by_label("Key", exact=True).fill("mm_wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("alert")).to_be_visible()  # it is asked for once: no loop of dialogs
    page.get_by_role("button", name="API key: in use").click()
    dialog.get_by_label("Key", exact=True).fill(site.key())
    dialog.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("smollm2-135m-instruct")
    kept = "[sessionStorage.getItem('manymodal.key'), localStorage.getItem('manymodal.key')]"
    assert page.evaluate(kept)[0].startswith("mm_")
    assert page.evaluate(kept)[1] is None
    page.reload()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("smollm2-135m-instruct")
    page.get_by_role("button", name="API key: in use").click()
    dialog.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_role("button", name="API key: none")).to_be_visible()
    assert page.evaluate(kept) == [None, None]


def test_a_key_may_be_remembered(visit, open_site):
    site = open_site("keys")
    page = visit(site)
    page.watch.expect("401")
    dialog = page.get_by_role("dialog", name="API key")
    dialog.get_by_label("Key", exact=True).fill(site.key())
    dialog.get_by_label("Remember it on this device").check()
    page.keyboard.press("Enter")
    expect(page.get_by_role("combobox", name="Model")).to_have_value("smollm2-135m-instruct")
    assert page.evaluate("localStorage.getItem('manymodal.key')").startswith("mm_")


def test_themes(visit, site):
    page = visit(site, color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Theme: dark").click()
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == dark


def test_by_keyboard_alone(visit, site):
    page = visit(site, "#/status")  # where nothing takes the focus at once
    expect(page.get_by_role("heading", level=1, name="Status")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_role("button", name="Skip to content").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Search", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_title("Search · Manymodal")


def test_a_server_that_is_gone_is_said_in_a_sentence(visit, site):
    page = visit(site)
    expect(page.get_by_role("combobox", name="Model")).to_have_value("smollm2-135m-instruct")
    page.watch.expect("ERR_FAILED")
    page.route("**/v1/**", lambda route: route.abort())
    page.get_by_label("Your question").fill("Hello?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached. Is it still running?")
