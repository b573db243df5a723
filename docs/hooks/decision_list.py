"""The list of architecture decisions, made of their first lines."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["page"]

_TITLE = re.compile(r"^# (?P<number>\d{4})\. (?P<title>.+)$", re.MULTILINE)
_STATUS = re.compile(r"^Status: (?P<status>[^.\n]+)", re.MULTILINE)


def page(folder: Path) -> str:
    """All of them by number. Raises ``ValueError`` for a file that does not begin as a decision does."""
    lines = [
        "# Decisions",
        "",
        "Choices that were hard to make, or are hard to undo, with what was rejected and why.",
        "",
        "| | | status |",
        "|---|---|---|",
    ]
    for file in sorted(folder.glob("[0-9]*.md")):
        text = file.read_text("utf-8")
        title, status = _TITLE.search(text), _STATUS.search(text)
        if title is None or status is None:
            raise ValueError(f"{file.name} does not begin with a number, a title and a status.")
        lines.append(f"| {title['number']} | [{title['title']}]({file.name}) | {status['status']} |")
    return "\n".join(lines) + "\n"
