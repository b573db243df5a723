"""The documents as a site: built strictly, whole, and without anything that is fetched from elsewhere."""

from __future__ import annotations

import html
import os
import posixpath
import re
import subprocess
import sys
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from documents import REPOSITORY

from deploy.settings import Settings
from encoders.registry import specs
from serving.app import describe_routes
from serving.errors import ERROR_TABLE

BUILD_SECONDS = 240  # only ends what hangs


class Reading(HTMLParser):
    """What a page names: ids, links, and what a browser would load to show it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.update(filter(None, (given.get("id"), given.get("name") if tag == "a" else None)))
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        elif tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(str(given.get("href")))
        elif given.get("src"):
            self.loaded.append(str(given["src"]))

    def handle_data(self, data: str) -> None:
        self.text += data


class Site:
    """A built site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def pages(self) -> dict[str, Reading]:
        return {
            path.relative_to(self.folder).as_posix(): Reading(path.read_text("utf-8"))
            for path in sorted(self.folder.rglob("*.html"))
        }

    def lost(self, page: str, target: str) -> bool:
        """Whether a link or file that a page names is not there."""
        parts = urlsplit(html.unescape(target))
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path)))
        there = (
            page
            if not parts.path
            else posixpath.join(path, "index.html")
            if parts.path.endswith("/")
            else path
        )
        if not (self.folder / there).is_file():
            return True
        return (
            bool(parts.fragment)
            and there in self.pages
            and unquote(parts.fragment) not in self.pages[there].ids
        )


def is_outside(target: str) -> bool:
    return bool(urlsplit(target).scheme or urlsplit(target).netloc)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stderr, built.stderr
    return Site(folder)


def test_every_link_leads_to_a_page_of_the_site_and_into_it(site: Site) -> None:
    lost = {
        (name, target)
        for name, page in site.pages.items()
        if name != "404.html"  # its links begin at the server's root
        for target in (*page.links, *page.loaded)
        if not is_outside(target) and site.lost(name, target)
    }
    assert not lost


def test_nothing_is_loaded_from_elsewhere(site: Site) -> None:
    assert {target for page in site.pages.values() for target in page.loaded if is_outside(target)} == set()
    for sheet in site.folder.rglob("*.css"):
        assert not re.findall(r"@import|url\(\s*['\"]?(?:https?:)?//", sheet.read_text("utf-8")), sheet
    # The theme's script fetches a library for pages with such a diagram.
    assert not [path for path in site.folder.rglob("*.html") if 'class="mermaid"' in path.read_text("utf-8")]


def test_every_route_is_in_the_reference_with_its_fields(site: Site) -> None:
    index = site.pages["reference/index.html"].text
    told = "".join(page.text for name, page in site.pages.items() if name.startswith("reference/"))
    document = describe_routes()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in index
    for name in ("SearchRequest", "ChatRequest", "DocumentRequest"):
        for field in document["components"]["schemas"][name]["properties"]:
            assert field in told


def test_every_setting_is_listed_as_it_is_on_any_machine(site: Site) -> None:
    page = site.pages["reference/settings.html"].text
    fields = {name for name in Settings.model_fields if name != "deployments"}
    assert {name for name in fields if not re.search(rf"(?m)^{name}(\.|$)", page)} == set()
    assert str(Path.home()) not in page


def test_every_error_and_every_model_is_listed(site: Site) -> None:
    errors = site.pages["reference/errors.html"].text
    assert {kind.__name__ for kind in ERROR_TABLE if kind.__name__ not in errors} == set()
    models = site.pages["models.html"].text
    assert [spec.name for spec in specs() if spec.name not in models or spec.licence not in models] == []


def test_every_picture_of_the_benchmarks_is_shown(site: Site) -> None:
    shown = {posixpath.basename(target) for target in site.pages["benchmarks.html"].loaded}
    results = REPOSITORY / "benchmarks" / "results"
    assert {path.name for path in results.glob("*.svg")} <= shown
    assert "generated:" not in "".join(page.text for page in site.pages.values())


def test_every_page_is_in_the_menu(site: Site) -> None:
    menu = set(site.pages["index.html"].links)
    pages = {
        f"{path.relative_to(REPOSITORY / 'docs').with_suffix('')}.html"
        for path in REPOSITORY.glob("docs/**/*.md")
    }
    assert pages - menu - {"index.html"} == set()


def test_what_is_lost_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="b.html">b</a> <a href="#y">y</a><img src="//elsewhere/z.png">'
    )
    (tmp_path / "c.html").write_text('<a href="a.html#x">a</a>')
    site = Site(tmp_path)
    assert [site.lost("a.html", target) for target in site.pages["a.html"].links] == [True, True]
    assert not site.lost("c.html", "a.html#x")
    assert is_outside(site.pages["a.html"].loaded[0])
