"""The chat: media in by every way, a streamed answer, and what it used of each medium."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.access import violations
from browser.real_media import film, picture, speech, written
from browser.windows import eventually, record, until

PHOTO = picture({"street sign": 0.81, "traffic light": 0.07}, ("MAIN STREET", "No parking"))
TALK = speech((0.0, 2.0, "Welcome to the meeting."), (3.0, 5.0, "We ship on Friday."))
FILM = film([{"goal": 0.9}, {"crowd": 0.7}, {"referee": 0.6}], (1.0, 2.0, "And she scores!"))


@pytest.fixture
def media(tmp_path: Path) -> dict[str, Path]:
    return {
        name: written(tmp_path, name, content)
        for name, content in {"sign.png": PHOTO, "talk.wav": TALK, "match.mp4": FILM}.items()
    }


def attach(page: Page, *files: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach images, audio or video").click()
    chooser.value.set_files(list(files))
    for file in files:
        expect(page.get_by_role("listitem").filter(has_text=file.name)).to_contain_text("file-")


def ask(page: Page, words: str) -> None:
    page.get_by_label("Your question").fill(words)
    page.keyboard.press("Enter")


def answered(page: Page, count: int = 1) -> None:
    expect(page.get_by_role("button", name="Copy the answer")).to_have_count(count)


def copied(page: Page, text: str) -> None:
    """The clipboard holds ``text``, sooner or later."""
    until(page, f"navigator.clipboard.readText().then((found) => found === {json.dumps(text)})")


def test_a_question_and_another(page, site):
    ask(page, "Hello, **you**")
    answered(page)
    expect(page.get_by_role("article", name="You")).to_have_text(
        "Hello, **you**"
    )  # of people nothing is markup
    expect(page.get_by_role("article", name="Answer")).to_contain_text("A cat sits.")
    expect(page.get_by_role("article", name="Answer")).to_contain_text(re.compile(r"tokens? in, \d+ out"))
    ask(page, "And why?")
    answered(page, 2)
    sent = [one for one in site.platform.engine.requests if one.get("stream")][-1]
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    page.reload()  # the conversation is kept with the tab
    answered(page, 2)
    page.get_by_role("button", name="Answer anew").click()
    answered(page, 2)
    page.get_by_role("button", name="Copy the answer").last.click()
    copied(page, "A cat sits.")
    page.get_by_role("button", name="New chat").click()
    expect(page.get_by_role("heading", name="Ask about anything you can see, hear or read")).to_be_visible()
    page.reload()
    expect(page.get_by_role("article")).to_have_count(0)


def test_options_go_with_the_question(page, site):
    page.get_by_role("button", name="Options").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Longest answer (tokens)").fill("7")
    page.get_by_role("button", name="Options").click()
    ask(page, "Hello")
    answered(page)
    (sent,) = site.platform.engine.requests
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert sent["temperature"] == 0.5
    assert 7 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


def test_everything_at_once(page, site, media):
    attach(page, *media.values())
    ask(page, "What do you see and hear?")
    answered(page)
    sign = page.get_by_role("region", name="What was used of sign.png")
    expect(sign).to_contain_text("street sign 81 %")
    expect(sign).to_contain_text("labels: new")
    sign.get_by_role("button", name="2 lines of text").click()
    expect(sign.get_by_role("list", name="Lines of text")).to_contain_text("MAIN STREET")
    boxes = sign.locator(".written polygon")
    expect(boxes).to_have_count(2)
    drawn, shown = sign.locator(".written").evaluate(  # at one moment: the page may move
        "one => ['polygon', 'img'].map((each) => one.querySelector(each).getBoundingClientRect().toJSON())"
    )
    scale = shown["width"] / 640  # the first line is at (50, 60), 242 wide and 50 high
    assert drawn["x"] - shown["x"] == pytest.approx(50 * scale, abs=6)
    assert drawn["y"] - shown["y"] == pytest.approx(60 * scale, abs=6)
    assert drawn["width"] == pytest.approx(242 * scale, abs=10)

    talk = page.get_by_role("region", name="What was used of talk.wav")
    talk.get_by_role("button", name="2 passages in").click()
    talk.get_by_role("button", name="Play from 0:03").click()
    expect(talk.get_by_role("list")).to_contain_text("We ship on Friday.")
    expect(talk.locator("audio")).to_have_js_property("paused", False)
    until(page, "document.querySelector('.evidence audio').currentTime >= 3")

    match = page.get_by_role("region", name="What was used of match.mp4")
    expect(
        match.get_by_role("list", name="Frames that were looked at").get_by_role("listitem")
    ).to_have_count(3)
    until(page, "[...document.querySelectorAll('.frame img')].filter(i => i.naturalWidth).length === 3")
    match.get_by_role("button", name="Play from 0:02: referee 60 %").click()
    until(page, "document.querySelector('.evidence video').currentTime >= 2")
    assert site.platform.perception.calls["transcribe"] == 2  # the page asked for what the chat had heard

    ask(page, "Once more?")
    answered(page, 2)
    expect(page.get_by_role("region", name="What was used of sign.png").last).to_contain_text(
        "labels: cached"
    )
    assert violations(page) == []


def test_dropped_and_pasted(page, media):
    give = """([name, type, bytes, how]) => {
      const files = new DataTransfer();
      files.items.add(new File([new Uint8Array(bytes)], name, { type }));
      const target = document.querySelector('.chat');
      const more = { bubbles: true, cancelable: true };
      if (how === 'paste') target.dispatchEvent(new ClipboardEvent('paste', { ...more, clipboardData: files }));
      else for (const kind of ['dragenter', 'dragover', 'drop'])
        target.dispatchEvent(new DragEvent(kind, { ...more, dataTransfer: files }));
    }"""
    page.locator(".chat").wait_for()
    for name, how in (("dropped.png", "drop"), ("pasted.png", "paste")):
        page.evaluate(give, [name, "image/png", list(PHOTO), how])
        expect(page.get_by_role("listitem").filter(has_text=name)).to_contain_text("file-")
    assert not page.evaluate("document.querySelector('.chat').classList.contains('dropping')")
    page.get_by_role("button", name="Remove pasted.png").click()
    page.keyboard.press("Tab")
    ask(page, "")
    answered(page)
    expect(page.get_by_role("region", name="What was used of dropped.png")).to_be_visible()
    expect(page.get_by_role("article", name="You").get_by_role("img", name="dropped.png")).to_be_visible()


def test_the_microphone(page, site):
    record(page)
    expect(page.get_by_role("listitem").filter(has_text="recording-")).to_contain_text("file-")
    (kept,) = site.platform.media.list("default")
    assert kept.ref.content_type in ("audio/webm", "video/webm")
    ask(page, "What did I say?")
    answered(page)


def test_what_cannot_be_taken_is_said(page, tmp_path):
    page.watch.expect("400")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach images, audio or video").click()
    chooser.value.set_files(
        [written(tmp_path, "notes.txt", b"no medium"), written(tmp_path, "empty.png", b"")]
    )
    expect(page.get_by_role("listitem").filter(has_text="notes.txt").get_by_role("alert")).to_contain_text(
        "not of a type that is read here"
    )
    expect(page.get_by_role("listitem").filter(has_text="empty.png").get_by_role("alert")).to_have_text(
        "empty.png is empty."
    )
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.get_by_role("button", name="Remove notes.txt").click()
    page.get_by_role("button", name="Remove empty.png").click()
    ask(page, "Hello")
    answered(page)


def test_a_large_file_goes_in_parts(page, site, tmp_path):
    large = picture({"desert": 0.9}) + b" " * (25 << 20)
    attach(page, written(tmp_path, "large.png", large))
    assert site.platform.media.list("default")[0].ref.size_bytes == len(large)


def test_stopping(page, site):
    site.platform.engine.words = ("word ",) * 4000  # for minutes
    site.platform.engine.pause_seconds = 0.05
    ask(page, "Tell me much")
    expect(page.get_by_role("article", name="Answer")).to_contain_text("word word")
    page.keyboard.press("Escape")
    expect(page.get_by_role("article", name="Answer")).to_contain_text("Stopped.")
    until(page, "!document.querySelector('[aria-label=Send]').hidden")
    expect(page.get_by_label("Your question")).to_be_focused()
    eventually(page, lambda: site.platform.engine.running == 0)  # the server stopped working on it


def test_failures_are_sentences(page, site):
    page.watch.expect("503")
    site.platform.engine.unavailable_times = 10
    ask(page, "Hello")
    expect(page.get_by_role("alert")).not_to_be_empty()
    assert "Traceback" not in page.get_by_role("alert").inner_text()
    site.platform.engine.unavailable_times = 0
    site.platform.engine.error_after = 1
    page.get_by_role("button", name="Answer anew").click()
    expect(page.get_by_role("article", name="Answer")).to_contain_text("A ")
    expect(page.get_by_role("alert")).not_to_contain_text("10.0.0.3")
    site.platform.engine.error_after = None
    page.get_by_role("button", name="Answer anew").click()
    answered(page)
    expect(page.get_by_role("alert")).to_have_count(0)


MARKDOWN = """# Title

A **bold** word, *soft*, `code` & <b>tags</b><img src=x onerror="document.title='taken'">.

1. one
2. two
   - deep

| a | b |
|---|--:|
| 1 | 2 |

```python
print("<script>")
```

[web](https://example.org/?a=1) [bad](javascript:alert(1)) ![p](https://example.org/p.png)
<script>document.title='taken'</script>
"""


def test_markdown_never_becomes_markup(page, site):
    site.platform.engine.words = tuple(re.split(r"(?<= )", MARKDOWN))
    ask(page, "Format")
    answered(page)
    answer = page.locator(".prose")
    expect(answer.get_by_role("heading", name="Title")).to_be_visible()
    expect(answer.locator("strong")).to_have_text("bold")
    expect(answer.locator("ol > li")).to_have_text([re.compile("one"), re.compile(r"two\s*deep")])
    expect(answer.locator("table td")).to_have_text(["1", "2"])
    expect(answer.locator("pre")).to_have_text('print("<script>")')
    assert answer.locator("a").evaluate_all("links => links.map(l => [l.textContent, l.href, l.rel])") == [
        ["web", "https://example.org/?a=1", "noopener noreferrer nofollow"],
        ["p", "https://example.org/p.png", "noopener noreferrer nofollow"],
    ]
    expect(answer).to_contain_text("<b>tags</b>")
    assert answer.locator("img, script, b").count() == 0
    expect(page).to_have_title("Chat · Manymodal")
    answer.get_by_role("button", name="Copy the code").click()
    copied(page, 'print("<script>")')


def test_with_a_key_everything_plays(visit, open_site, media):
    site = open_site("keys")
    page = visit(site)
    page.watch.expect("401")
    page.get_by_role("dialog").get_by_label("Key", exact=True).fill(site.key())
    page.keyboard.press("Enter")
    attach(page, media["match.mp4"], media["sign.png"])
    ask(page, "What is it?")
    answered(page)
    page.get_by_role("button", name="Play from 0:01: crowd 70 %").click()
    until(page, "document.querySelector('.evidence video').currentTime >= 1")
    page.get_by_role("button", name="2 lines of text").click()
    until(page, "document.querySelector('.written img')?.naturalWidth === 640")


def test_a_medium_from_elsewhere(visit, site, page, media):
    attach(page, media["sign.png"])
    media_id = site.platform.media.list("default")[0].ref.id
    other = visit(site, f"#/chat?media={media_id}")
    expect(other.get_by_role("listitem").filter(has_text="sign.png")).to_be_visible()
    expect(other).to_have_url(re.compile("#/chat$"))


def test_on_a_phone(visit, site, media):
    page = visit(
        site, viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    attach(page, media["sign.png"], media["match.mp4"])
    ask(page, "What is it? " + "Averylongword" * 12)
    answered(page)
    page.get_by_role("button", name="2 lines of text").click()
    expect(page.get_by_role("list", name="Lines of text")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
