"""Grouped writes: one commit for many callers, each with an outcome of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_tables import contents, created, rows

from search.errors import CollectionNotFound, DimensionMismatch, SearchUnavailable
from search.location import TableLocation
from search.table import RowTable
from search.writer import GroupedWriter


class GatedTable:
    """A real table whose commits wait until they are let through, or fail as they are told."""

    def __init__(self, table: RowTable) -> None:
        self._table = table
        self.spec = table.spec
        self.commits = 0
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.failure: Exception | None = None

    def replace(self, added: pa.Table, document_ids: Sequence[str], deleted_ids: Sequence[str] = ()) -> int:
        self.commits += 1
        self.begun.release()
        assert self.gate.wait(timeout=30)
        if self.failure is not None:
            raise self.failure
        return self._table.replace(added, document_ids, deleted_ids)


@pytest.fixture
def table(tmp_path: Path) -> RowTable:
    return created(TableLocation.local(tmp_path / "t" / "things.lance"))


@pytest.fixture
def gated(table: RowTable) -> GatedTable:
    return GatedTable(table)


@pytest.fixture
def writer(gated: GatedTable) -> GroupedWriter:
    return GroupedWriter(gated)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def queued(writer: GroupedWriter, pool: ThreadPoolExecutor, *works: object) -> list[Future[int]]:
    """Each work waits in the writer's queue before the next is begun, so their order is known."""
    futures = []
    for work in works:
        before = len(writer._queue)
        futures.append(pool.submit(work))
        while len(writer._queue) == before:
            assert not futures[-1].done()
    return futures


def start(writer: GroupedWriter, gated: GatedTable, pool: ThreadPoolExecutor) -> Future[int]:
    """A first write, which stands in its commit until the gate is opened."""
    first = pool.submit(writer.replace, rows(("first", 1)), ["first"])
    assert gated.begun.acquire(timeout=30)
    return first


def test_a_single_write_is_one_commit(writer: GroupedWriter, gated: GatedTable, table: RowTable) -> None:
    gated.gate.set()
    version = writer.replace(rows(("a", 2)), ["a"])
    assert version == table.latest_version()
    assert writer.delete(["a"]) == version + 1
    assert contents(table) == []
    assert gated.commits == 2


def test_what_queues_up_is_committed_together_in_order(
    writer: GroupedWriter, gated: GatedTable, table: RowTable, pool: ThreadPoolExecutor
) -> None:
    first = start(writer, gated, pool)
    waiting = queued(
        writer,
        pool,
        lambda: writer.replace(rows(("a", 3), ("b", 1), text="1"), ["a", "b"]),
        lambda: writer.replace(rows(("a", 1), text="2"), ["a"]),
        lambda: writer.replace(rows(("c", 1), text="3"), ["c"]),
        lambda: writer.delete(["c", "first"]),
        lambda: writer.delete(["d"]),
        lambda: writer.replace(rows(("d", 2), text="4"), ["d"]),
    )
    gated.gate.set()
    version = first.result(timeout=30)
    assert [done.result(timeout=30) for done in waiting] == [version + 1] * 6
    assert gated.commits == 2
    assert contents(table) == [("a", 0, "2"), ("b", 0, "1"), ("d", 0, "4"), ("d", 1, "4")]


@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True)),
        max_size=8,
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_group_has_the_effect_of_its_writes_one_after_another(
    table: RowTable, pool: ThreadPoolExecutor, writes: list[tuple[bool, list[str]]]
) -> None:
    gated = GatedTable(table)
    writer = GroupedWriter(gated)
    table.delete(*"abcde")
    first = start(writer, gated, pool)
    expected = {"first": "first"}
    works = []
    for number, (is_delete, names) in enumerate(writes):
        added = rows(*((name, 1) for name in names), text=str(number))
        if is_delete:
            works.append(lambda names=names: writer.delete(names))
            expected = {name: text for name, text in expected.items() if name not in names}
        else:
            works.append(lambda names=names, added=added: writer.replace(added, names))
            expected |= dict.fromkeys(names, str(number))
    waiting = queued(writer, pool, *works)
    gated.gate.set()
    for done in (first, *waiting):
        done.result(timeout=30)
    expected["first"] = ""
    assert {name: text for name, _, text in contents(table)} == expected


def test_callers_share_commits_and_lose_nothing(
    writer: GroupedWriter, gated: GatedTable, table: RowTable, pool: ThreadPoolExecutor
) -> None:
    first = start(writer, gated, pool)

    def work(who: int) -> None:
        for number in range(8):
            name = f"{who}-{number}"
            version = writer.replace(rows((name, 2)), [name])
            assert version <= table.latest_version()
            if number % 2:
                writer.delete([name])

    waiting = [pool.submit(work, who) for who in range(16)]
    while len(writer._queue) < 16:
        assert not any(done.done() for done in waiting)
    gated.gate.set()
    first.result(timeout=30)
    for done in waiting:
        done.result(timeout=60)
    kept = [
        (f"{who}-{number}", part, "") for who in range(16) for number in range(0, 8, 2) for part in (0, 1)
    ]
    assert contents(table) == sorted([*kept, ("first", 0, "")])
    assert gated.commits < 16 * 12  # as many as there were writes, if nobody shared


def test_too_much_waiting_is_refused(
    writer: GroupedWriter, gated: GatedTable, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(writer, gated, pool)
    monkeypatch.setattr("search.writer._MAX_WAITING_WRITES", 2)
    waiting = queued(writer, pool, lambda: writer.delete(["a"]), lambda: writer.delete(["b"]))
    with pytest.raises(SearchUnavailable, match="too much"):
        writer.delete(["c"])
    monkeypatch.setattr("search.writer._MAX_WAITING_WRITES", 100)
    monkeypatch.setattr("search.writer._MAX_WAITING_BYTES", 10)
    with pytest.raises(SearchUnavailable, match="too much"):
        writer.replace(rows(("c", 1)), ["c"])
    gated.gate.set()
    for done in (first, *waiting):
        done.result(timeout=30)
    assert writer.replace(rows(("c", 1)), ["c"]) > 0  # alone, however large


@pytest.mark.parametrize(
    "failure", [SearchUnavailable("Away."), CollectionNotFound("Gone."), DimensionMismatch("No.")]
)
def test_every_caller_gets_an_error_of_its_own(
    writer: GroupedWriter, gated: GatedTable, table: RowTable, pool: ThreadPoolExecutor, failure: Exception
) -> None:
    first = start(writer, gated, pool)
    waiting = queued(writer, pool, lambda: writer.delete(["a"]), lambda: writer.delete(["b"]))
    gated.failure = failure
    gated.gate.set()
    errors = []
    for done in (first, *waiting):
        with pytest.raises(type(failure)) as caught:
            done.result(timeout=30)
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    gated.failure = None
    writer.replace(rows(("after", 1)), ["after"])
    assert [name for name, _, _ in contents(table)] == ["after"]


def test_an_unforeseen_error_leaves_nobody_waiting(
    writer: GroupedWriter, gated: GatedTable, pool: ThreadPoolExecutor
) -> None:
    first = start(writer, gated, pool)
    waiting = queued(writer, pool, lambda: writer.delete(["a"]))
    gated.failure = ZeroDivisionError()
    gated.gate.set()
    for done in (first, *waiting):
        with pytest.raises(SearchUnavailable):
            done.result(timeout=30)
    gated.failure = None
    assert writer.delete(["a"]) > 0


def test_who_waits_too_long_is_told_and_writes_nothing(
    writer: GroupedWriter,
    gated: GatedTable,
    table: RowTable,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = start(writer, gated, pool)
    monkeypatch.setattr("search.writer._WAIT_SECONDS", 0.01)
    with pytest.raises(SearchUnavailable, match="busy"):
        writer.replace(rows(("late", 1)), ["late"])
    gated.gate.set()
    first.result(timeout=30)
    writer.delete(["other"])
    assert [name for name, _, _ in contents(table)] == ["first"]
