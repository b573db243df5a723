"""The API reference says of a route's fields what the guide says of that route."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import pytest
from documents import REPOSITORY, pages

from serving.app import describe_routes


@pytest.fixture(scope="module")
def reference() -> Iterator[Mapping[str, str]]:
    """The pages by their paths. Modules of hooks find each other by their folder, as MkDocs has it."""
    folder = str(REPOSITORY / "docs" / "hooks")
    sys.path.insert(0, folder)
    try:
        import api_reference

        yield api_reference.pages(describe_routes(), pages()["docs/api.md"], {})
    finally:
        sys.path.remove(folder)


def row(page: str, heading: str, field: str) -> str:
    """The row of a field in the first table of it below a heading."""
    below = page.partition(f"{heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    (found,) = (line for line in below.splitlines() if line.startswith(f"| `{field}`"))
    return found


@pytest.mark.parametrize(
    ("page", "heading", "field", "says"),
    [
        ("audio", "## `POST /v1/audio/transcriptions`", "model", "`whisper-1`"),
        ("audio", "## `POST /v1/audio/transcriptions`", "prompt", "at most 4000 characters"),
        ("audio", "## `POST /v1/audio/translations`", "model", "`whisper-1`"),
        ("audio", "## `POST /v1/audio/transcribe`", "prompt", "what to do with what was said"),
        ("search", "### `RecommendRequest` { #schema-recommendrequest }", "collection", "default"),
        ("chat", "### `ChatRequest` { #schema-chatrequest }", "stream", "in pieces"),
    ],
)
def test_fields_are_told_as_in_their_own_section(
    reference: Mapping[str, str], page: str, heading: str, field: str, says: str
) -> None:
    assert says in row(reference[f"reference/{page}.md"], heading, field)
