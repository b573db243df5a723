"""The repository's pages, as tests look at them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["REPOSITORY", "code_blocks", "pages"]

REPOSITORY = Path(__file__).resolve().parents[1]

_BLOCK = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)


@cache
def pages() -> dict[str, str]:
    """Every Markdown page that is, or is about to be, in the repository, by its path there.

    Pages that are ignored, and the tests' own data, are none.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    found = (path for path in sorted(set(listed)) if not path.startswith("tests/"))
    return {path: (REPOSITORY / path).read_text("utf-8") for path in found if (REPOSITORY / path).exists()}


def code_blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each block of code."""
    yield from ((found["language"], found["body"]) for found in _BLOCK.finditer(page))
