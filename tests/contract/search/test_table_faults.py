"""A table on an S3 server that fails, or whose answers are lost: what is told is true, and nothing is doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fault_proxy import Fault, FaultProxy, Kind, Request
from s3_server import S3Server
from search_tables import contents, created, location, opened, rows

from search.errors import SearchUnavailable
from search.location import TableLocation
from search.table import RowTable


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.port, s3_server.config) as proxy:
        yield proxy


@pytest.fixture
def places(s3_server: S3Server, proxy: FaultProxy, tmp_path: Path) -> tuple[TableLocation, TableLocation]:
    """The same table, through the proxy and past it."""
    s3 = s3_server.config
    through = replace(s3, endpoint_url=proxy.url)
    return location(tmp_path, through).table("t", "things"), location(tmp_path, s3).table("t", "things")


def is_commit(request: Request) -> bool:
    return request.method == "PUT" and "_versions" in request.path


def is_rows(request: Request) -> bool:
    return request.method == "PUT" and "/data/" in request.path


FAULTS: list[tuple[Kind, Callable[[Request], bool], int]] = [
    ("answer error", is_commit, 1),
    ("answer error", is_commit, 8),
    ("lose answer", is_commit, 1),
    ("lose answer", is_commit, 8),
    ("cut request", is_commit, 1),
    ("answer error", is_rows, 1),
    ("lose answer", is_rows, 1),
    ("lose answer", is_rows, 8),
]


def told(act: Callable[[], object]) -> bool:
    """Whether it was said to be done."""
    try:
        act()
    except SearchUnavailable:
        return False
    return True


@pytest.mark.parametrize(("kind", "matches", "times"), FAULTS)
def test_writes(
    places: tuple[TableLocation, TableLocation],
    proxy: FaultProxy,
    kind: Kind,
    matches: Callable[[Request], bool],
    times: int,
) -> None:
    through, past = places
    created(past).replace(rows(("old", 2), ("gone", 1), text="1"), ["old", "gone"])
    table = created(through)
    with proxy.failing(Fault(kind, matches, times)):
        was_written = told(
            lambda: table.replace(rows(("new", 2), ("old", 1), text="2"), ["new", "old"], ["gone"])
        )
    before = [("gone", 0, "1"), ("old", 0, "1"), ("old", 1, "1")]
    after = [("new", 0, "2"), ("new", 1, "2"), ("old", 0, "2")]
    found = contents(created(past))
    assert found == after if was_written else found in (before, after)
    table.replace(rows(("new", 2), ("old", 1), text="2"), ["new", "old"], ["gone"])  # the same object goes on
    assert contents(created(past)) == after == contents(table)
    with proxy.failing(Fault(kind, is_commit, times)):
        was_deleted = told(lambda: table.delete("new"))
    left = [row for row in after if row[0] != "new"]
    found = contents(created(past))
    assert found == left if was_deleted else found in (after, left)


@pytest.mark.parametrize(("kind", "matches", "times"), FAULTS)
def test_creation_and_drop(
    places: tuple[TableLocation, TableLocation],
    proxy: FaultProxy,
    kind: Kind,
    matches: Callable[[Request], bool],
    times: int,
) -> None:
    through, past = places
    uids: list[str] = []
    with proxy.failing(Fault(kind, matches, times)):
        was_made = told(lambda: uids.append(created(through).uid))
    table: RowTable | None = opened(past)
    assert table is not None or not was_made
    if was_made and table is not None:
        assert uids == [table.uid]
    table = created(through)
    table.replace(rows(("a", 1)), ["a"])
    with proxy.failing(Fault(kind, is_commit, times)):
        was_dropped = told(table.drop)
    found = opened(past)
    assert found is None or not was_dropped
    if found is not None:
        assert contents(found) == [("a", 0, "")]
        assert found.drop()
    assert contents(created(through)) == []
