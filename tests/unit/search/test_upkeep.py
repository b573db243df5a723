"""Maintenance in the background: after enough writes, beside the writers, and harmless when it fails."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from search_tables import contents, created, opened, rows

from search.errors import CollectionNotFound, SearchUnavailable
from search.location import TableLocation
from search.maintenance import OldVersions
from search.table import RowTable
from search.upkeep import Upkeep


class CountedTable:
    """Counts how often it is maintained, and waits or fails meanwhile as it is told."""

    def __init__(self, uid: str = "a") -> None:
        self.uid = uid
        self.calls = 0
        self.called = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()
        self.failure: Exception | None = None

    def maintain(self) -> None:
        self.calls += 1
        self.called.release()
        assert self.go.wait(timeout=30)
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def place(tmp_path: Path) -> TableLocation:
    return TableLocation.local(tmp_path / "t" / "things.lance")


def test_a_table_is_maintained_after_so_many_writes_or_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.upkeep._WRITES", 3)
    monkeypatch.setattr("search.upkeep._ROWS", 100)
    upkeep, table, other = Upkeep(), CountedTable(), CountedTable("b")
    for expected in (1, 2):
        upkeep.after_write(table, 1)
        upkeep.after_write(other, 1)
        upkeep.after_write(table, 1)
        assert table.calls == expected - 1
        upkeep.after_write(table, 1)
        assert table.called.acquire(timeout=30)
    upkeep.after_write(table, 100)
    assert table.called.acquire(timeout=30)
    upkeep.close()
    assert (table.calls, other.calls) == (3, 0)


@pytest.mark.parametrize("failure", [SearchUnavailable("x"), CollectionNotFound("x"), ZeroDivisionError()])
def test_a_failure_ends_nothing(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    monkeypatch.setattr("search.upkeep._WRITES", 1)
    upkeep, table = Upkeep(), CountedTable()
    table.failure = failure
    for _ in range(2):
        upkeep.after_write(table, 1)
        assert table.called.acquire(timeout=30)
        upkeep.close()
    assert table.calls == 2


def test_a_table_waits_once_however_much_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.upkeep._WRITES", 1)
    upkeep, slow, table = Upkeep(), CountedTable("slow"), CountedTable()
    slow.go.clear()
    upkeep.after_write(slow, 1)
    assert slow.called.acquire(timeout=30)
    for _ in range(50):
        upkeep.after_write(table, 1)
    slow.go.set()
    assert table.called.acquire(timeout=30)
    upkeep.close()
    assert table.calls == 1


def test_indexes_grow_by_segments_and_find_everything(
    place: TableLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.maintenance._UNINDEXED_ROWS", 10)
    table = created(place)
    sizes = []
    for step in range(8):
        names = [f"d{step}-{number}" for number in range(400 if step == 0 else 20)]
        table.replace(rows(*((name, 1) for name in names), text=f"step{step}"), names)
        table.maintain()
        dataset = table.state()._dataset
        sizes.append(dataset.stats.index_stats("text_idx")["num_indexed_rows_per_delta"])
        assert sum(sizes[-1]) == dataset.count_rows()
    assert sizes[1] == [401, 20]  # the large one is not written again for a few rows
    assert max(map(len, sizes)) <= 4
    for step in range(8):
        addresses, _ = table.state().match_text(f"step{step}", 1000)
        assert len(addresses) == (400 if step == 0 else 20)
    for name, _, _ in contents(table)[::7]:
        table.delete(name)
        table.replace(rows((name, 1), text="again"), [name])
    found = contents(table)
    assert len({name for name, _, _ in found}) == len(found) == 540
    assert found == contents(opened(place) or table)


def test_what_is_maintained_meanwhile_changes_no_pinned_state(place: TableLocation) -> None:
    table: RowTable = created(place)
    for number in range(40):
        table.replace(rows((f"d{number}", 1)), [f"d{number}"])
    pinned = table.state()
    before = pinned.read([fragment.id for fragment in pinned.fragments]).num_rows
    table.delete(*(f"d{number}" for number in range(20)))
    table.maintain()
    table.vacuum()
    assert pinned.read([fragment.id for fragment in pinned.fragments]).num_rows == before == 40
    assert len(contents(table)) == 20


def test_old_versions_go_when_they_are_many(place: TableLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.maintenance._CLEAN_AFTER_SECONDS", 0.0)
    monkeypatch.setattr("search.maintenance._KEEP_VERSIONS", timedelta(0))
    table = created(place)
    folder = Path(place.uri) / "_versions"
    for number in range(20):
        table.replace(rows((f"d{number}", 1)), [f"d{number}"])
    table.maintain()
    assert len(list(folder.iterdir())) > 20
    monkeypatch.setattr("search.maintenance._CLEAN_AFTER_VERSIONS", 20)
    table.maintain()
    assert len(list(folder.iterdir())) < 5
    table.replace(rows(("last", 1)), ["last"])
    table.maintain()  # nothing is due again
    assert len(list(folder.iterdir())) > 1
    assert len(contents(table)) == 21


def test_a_process_that_just_started_takes_old_versions_for_made_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It did not see them come: a table with a long history is not one that is written to all the time."""
    monkeypatch.setattr("search.maintenance._CLEAN_AFTER_SECONDS", 0.0)
    kept = []

    class Dataset:
        version = 100_000

        def cleanup_old_versions(self, older_than: timedelta) -> None:
            kept.append(older_than)

    old_versions, dataset = OldVersions(), Dataset()
    old_versions.remove_if_due(dataset)
    dataset.version += 100_000
    old_versions.remove_if_due(dataset)
    assert kept == [timedelta(minutes=10), timedelta(seconds=60)]
