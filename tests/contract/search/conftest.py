"""The same tests of search on local files and on a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest
from s3_server import S3Server

from search.config import SearchConfig


@pytest.fixture(params=["local", "s3"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> SearchConfig:
    """Settings of an empty search."""
    if request.param == "local":
        return SearchConfig(tmp_path / "search", dimensions=4)
    server: S3Server = request.getfixturevalue("s3_server")
    return SearchConfig(tmp_path / "search", dimensions=4, s3=server.config)
