"""The tutorials as pages; that they work is shown on a real platform (``tests/cluster/test_tutorials.py``)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from executed_pages import parsed_page

_FOLDER = Path(__file__).resolve().parents[3] / "docs" / "tutorials"
_PAGES = sorted(_FOLDER.glob("*.md"))


def blocks(page: Path, *languages: str) -> list[tuple[int, str]]:
    """Line and content of the page's blocks in these languages."""
    return [
        (example.line, example.parsed)
        for example in parsed_page(page)
        if page.read_text("utf-8")[example.start :].removeprefix("```").startswith(languages)
    ]


def test_the_index_lists_every_tutorial() -> None:
    listed = re.findall(r"\| \[[^]]+\]\(([a-z-]+\.md)\) \|", (_FOLDER / "index.md").read_text("utf-8"))
    assert sorted([*listed, "index.md"]) == [page.name for page in _PAGES]
    assert len(set(listed)) == 8


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_blocks_are_well_formed_and_what_they_print_can_be_wrong(page: Path) -> None:
    for line, source in blocks(page, "python"):
        compile("\n" * line + source, str(page), "exec")
    for line, source in blocks(page, "sh", "bash"):
        checked = subprocess.run(["bash", "-n"], input=source, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{page.name}, line {line}: {checked.stderr}"
    for line, shown in blocks(page, "text", "json"):
        assert re.search(r"[A-Za-z0-9]", shown.replace("...", "")), f"{page.name}, line {line} shows nothing"


@pytest.mark.parametrize(
    "page", [page for page in _PAGES if page.stem != "index"], ids=lambda page: page.stem
)
def test_a_tutorial_is_told_in_commands_and_in_python_and_leaves_nothing_out_of_sight(page: Path) -> None:
    assert blocks(page, "sh", "bash")
    assert blocks(page, "python") or page.stem == "cluster"
    assert blocks(page, "text", "json")
    known = sum(len(blocks(page, name)) for name in ("sh", "bash", "python", "text", "json"))
    fences = re.findall(r"^```[a-z]", page.read_text("utf-8"), re.MULTILINE)
    assert len(fences) == known, "a block is in a language that nobody runs or compares"
