"""Pages read alike in the repository (CommonMark, as GitHub has it) and on the site (Python-Markdown)."""

from __future__ import annotations

import re

import markdown
import pytest
import yaml
from documents import REPOSITORY, pages
from markdown_it import MarkdownIt

TAGS = {
    name: re.compile(f"<{name}[ >]")
    for name in ("ol", "ul", "li", "tr", "pre", "h1", "h2", "h3", "strong", "em", "a")
}


def counted(html: str) -> dict[str, int]:
    return {name: len(pattern.findall(html)) for name, pattern in TAGS.items()}


@pytest.fixture(scope="module")
def extensions() -> list[str]:
    """Those that the site is built with; permalinks would count as links."""
    settings = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text("utf-8"))
    named = (one if isinstance(one, str) else next(iter(one)) for one in settings["markdown_extensions"])
    return list(named)


@pytest.mark.parametrize("path", pages())
def test_the_same_lists_tables_code_and_links(path: str, extensions: list[str]) -> None:
    text = re.sub(r"<!--.*?-->", "", pages()[path], flags=re.DOTALL)
    on_github = counted(MarkdownIt("commonmark").enable("table").render(text))
    assert counted(markdown.markdown(text, extensions=extensions)) == on_github


def test_a_difference_would_be_found(extensions: list[str]) -> None:
    text = "1. one\n2. two\n\n   ```sh\n   ls\n   ```\n\n3. three\n"
    on_github = counted(MarkdownIt("commonmark").render(text))
    assert counted(markdown.markdown(text, extensions=extensions)) != on_github
