"""A folder's time of change tells that nothing was committed, and never tells so wrongly."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from search_collections import DIMENSIONS, open_table

from search.freshness import Freshness
from search.table import RowTable
from search.types import Query, Row

VECTOR = np.ones(DIMENSIONS, dtype=np.float32)
HOUR = 3_600_000_000_000


def age(folder: Path) -> None:
    then = time.time_ns() - HOUR
    os.utime(folder / "_versions", ns=(then, then))


def test_a_change_of_late_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "_versions").mkdir()
    freshness = Freshness(tmp_path)
    assert not freshness.unchanged()
    freshness.seen(freshness.look())
    assert not freshness.unchanged()
    age(tmp_path)
    freshness.seen(freshness.look())
    assert freshness.unchanged()
    (tmp_path / "_versions" / "new").touch()
    assert not freshness.unchanged()


def test_times_to_come_and_folders_that_are_not_there_are_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "_versions").mkdir()
    for then in (time.time_ns() + HOUR, time.time_ns()):
        os.utime(tmp_path / "_versions", ns=(then, then))
        freshness = Freshness(tmp_path)
        freshness.seen(freshness.look())
        assert not freshness.unchanged()
    for folder in (None, tmp_path / "missing"):
        freshness = Freshness(folder)
        freshness.seen(freshness.look())
        assert not freshness.unchanged()


def test_a_quiet_collection_is_not_listed_and_a_commit_is_seen_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_table(tmp_path)
    table.add([Row("a", "image", VECTOR)])
    age(tmp_path / "t" / "c.lance")
    reader = table.reader()
    listed = 0
    latest = RowTable.latest_version

    def counted(self: RowTable) -> int:
        nonlocal listed
        listed += 1
        return latest(self)

    monkeypatch.setattr(RowTable, "latest_version", counted)
    for _ in range(5):
        assert [hit.document_id for hit in reader.search(Query(VECTOR)).hits] == ["a"]
    assert listed == 1
    for name in "bcd":
        version = table.add([Row(name, "image", VECTOR)])
        assert name in [hit.document_id for hit in reader.search(Query(VECTOR)).hits]
        assert reader.search(Query(VECTOR, min_version=version)).version == version
    assert listed > 1
