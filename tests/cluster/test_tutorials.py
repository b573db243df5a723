"""The tutorials, the quickstart and the README, followed on a real platform by somebody who types every block."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from executed_pages import ADDRESS, Reader, run_page

from cluster.conftest import RunningPlatform
from deploy.demo.samples import Samples

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    # What readers write leaves closing its connections to the garbage collector.
    pytest.mark.filterwarnings("default::ResourceWarning"),
]

_REPOSITORY = Path(__file__).resolve().parents[2]
_DOCS = _REPOSITORY / "docs"
_PAGES = [_DOCS / "quickstart.md", *sorted((_DOCS / "tutorials").glob("*.md"))]


@pytest.fixture
def reader(platform: RunningPlatform, tmp_path: Path) -> Iterator[Reader]:
    """A reader in an empty folder. What a page may leave behind does not reach the next one."""
    made = Reader(tmp_path, platform.base_url, {"MANYMODAL_URL": platform.base_url})
    yield made
    made.close()
    with httpx.Client(base_url=platform.base_url, timeout=60) as http:
        http.put("/v1/tenants/default", json={}).raise_for_status()


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_shows(page: Path, reader: Reader, samples: Samples) -> None:
    if page.stem not in ("index", "quickstart"):
        # Those two show how samples are written; elsewhere it is quicker to find them there.
        shutil.copytree(samples.video.parent, reader.folder / "samples")
    assert run_page(page, reader) > 0


def test_what_the_readme_asks_a_platform_is_answered(reader: Reader, samples: Samples) -> None:
    shutil.copy(samples.pictures["cat"], reader.folder / "photo.jpg")
    # The rest of it is about installing, starting and measuring.
    assert run_page(_REPOSITORY / "README.md", reader, lambda source: ADDRESS in source) >= 3
