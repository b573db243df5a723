"""Links and headings of a Markdown page, outside code. Used to build the site and to check every link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Link", "anchors", "links", "prose"]

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}).*?^ *(?P=fence)`*~* *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)")
_LINK = re.compile(r"\]\((?P<target><[^>\n]+>|[^()\s]+(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *#* *$", re.MULTILINE)
_NAMED = re.compile(r"<a (?:id|name)=\"(?P<name>[^\"]+)\"")


@dataclass(frozen=True, slots=True)
class Link:
    """One link or picture: where its target stands in the page, and the target as it is written."""

    start: int
    stop: int
    target: str

    @property
    def is_outside(self) -> bool:
        """Whether it names a scheme (``https:``, ``mailto:``) and so nothing of this repository."""
        return re.match(r"[a-z][a-z0-9+.-]*:", self.target) is not None


def prose(markdown: str) -> str:
    """The page with all code blanked, each character at its place."""
    without_fences = _FENCE.sub(_blank, markdown)
    return _CODE.sub(_blank, without_fences)


def links(markdown: str) -> Iterator[Link]:
    """Every link in order. What looks like a link within code is none."""
    for found in _LINK.finditer(prose(markdown)):
        start, stop = found.span("target")
        yield Link(start, stop, markdown[start:stop].strip("<>"))


def anchors(markdown: str) -> set[str]:
    """The names that a link into the page may end in, as GitHub and mkdocs make them of headings."""
    without_fences = _FENCE.sub(_blank, markdown)
    known: set[str] = {found["name"] for found in _NAMED.finditer(without_fences)}
    for found in _HEADING.finditer(without_fences):
        slug = _slug(found["text"])
        number = 1
        wanted = slug
        while wanted in known:
            wanted = f"{slug}-{number}"
            number += 1
        known.add(wanted)
    return known


def _slug(heading: str) -> str:
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    kept = re.sub(r"[^\w\- ]", "", words.lower())
    return kept.strip().replace(" ", "-")


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])
