"""What the API guide (``docs/api.md``) says of fields, for the reference: written once, shown in both places."""

from __future__ import annotations

import re
from collections.abc import Mapping

import markdown_links

__all__ = ["meanings", "sections", "titles"]

_HEADING = re.compile(r"^##+ +(?P<text>.+)$", re.MULTILINE)
_CELL_END = re.compile(r"(?<!\\)\|")
_NAME = re.compile(r"`([A-Za-z_][A-Za-z0-9_]*)`")


def titles(guide: str) -> Mapping[str, str]:
    """The headings of level two and deeper as they are written, by their anchors."""
    found = {}
    for heading in _HEADING.finditer(guide):
        (anchor,) = markdown_links.anchors(heading[0])
        found[anchor] = heading["text"]
    return found


def sections(guide: str) -> Mapping[str, str]:
    """The text below each heading of level two and deeper, by the heading's anchor."""
    found = list(_HEADING.finditer(guide))
    stops = [one.start() for one in found[1:]] + [len(guide)]
    named: dict[str, str] = {}
    for heading, stop in zip(found, stops, strict=True):
        (anchor,) = markdown_links.anchors(heading[0])
        named[anchor] = guide[heading.end() : stop]
    return named


def meanings(section: str) -> Mapping[str, str]:
    """What a section's tables of fields say, by the field's name; the first table that has a field counts.

    Such tables have two columns, the first of which is headed ``field`` or ``fields``.
    """
    found: dict[str, str] = {}
    rows: list[list[str]] = []
    for line in [*section.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in _CELL_END.split(line.strip().strip("|"))])
            continue
        if len(rows) > 2 and len(rows[0]) == 2 and rows[0][0].startswith("field"):
            for names, meaning in rows[2:]:
                if meaning != "see below":
                    for name in _NAME.findall(re.sub(r"\([^)]*\)", "", names)):
                        found.setdefault(name, meaning)
        rows = []
    return found
