"""Every link of every page leads to something, within the repository as within the site."""

from __future__ import annotations

import posixpath

import pytest
from documents import REPOSITORY, pages
from markdown_links import anchors, links

_MADE_BY_THE_SITE = ("docs/reference/", "docs/adr/index.md")


@pytest.mark.parametrize("path", pages())
def test_links_lead_somewhere(path: str) -> None:
    lost = []
    for link in links(pages()[path]):
        target, _, anchor = link.target.partition("#")
        there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path
        if link.is_outside or there.startswith(_MADE_BY_THE_SITE):
            continue
        file = REPOSITORY / there
        is_there = file.exists() and not there.startswith("..")
        if anchor and is_there and file.suffix == ".md":
            is_there = anchor in anchors(file.read_text("utf-8"))
        if not is_there:
            lost.append(link.target)
    assert not lost


def test_a_link_that_leads_nowhere_would_be_found() -> None:
    page = "See [here](missing.md#part), `[not](this.md)` and\n```\n[nor](that.md)\n```\n## A `b`/c, d\n"
    assert [link.target for link in links(page)] == ["missing.md#part"]
    assert anchors(page) == {"a-bc-d"}


def test_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/api.md"} <= set(pages())
