"""Background building: swapped in without a pause, never in the way, never wrong."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact_search import ExactCollection, check_exact
from fake_store import FakeTroubledStore
from search_collections import DIMENSIONS, OpenTable, open_table, random_document

from search import collection as collection_module
from search.builder import Builder, BuildStopped
from search.collection import Collection
from search.types import IndexSpec, Query, Row

WAIT_SECONDS = 30.0


@pytest.fixture
def chance() -> np.random.Generator:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)  # shown when a test fails
    return np.random.default_rng(seed)


@pytest.fixture
def table(tmp_path: Path) -> OpenTable:
    return open_table(tmp_path, IndexSpec("ivf"), flat_rows=300, threads=1)


@pytest.fixture
def reader(table: OpenTable) -> Iterator[Collection]:
    reader = table.reader()
    yield reader
    reader.close()


class Gate:
    """Holds a build up at its start until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()
        self.builds = 0
        build: Callable[..., Any] = collection_module.sealed_segment

        def held(*arguments: Any) -> Any:
            self.builds += 1
            self.reached.set()
            going_on = arguments[-1]
            deadline = time.monotonic() + WAIT_SECONDS
            while not self.go.wait(0.01):
                going_on()
                assert time.monotonic() < deadline
            return build(*arguments)

        monkeypatch.setattr(collection_module, "sealed_segment", held)


def documents(chance: np.random.Generator, first: int, count: int) -> list[Row]:
    return [row for n in range(first, first + count) for row in random_document(chance, f"d{n}")]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_indexed(reader: Collection) -> bool:
    return any(segment.is_indexed for segment in reader.snapshot.segments)


def check(reader: Collection, model: ExactCollection, chance: np.random.Generator) -> None:
    query = Query(chance.standard_normal(DIMENSIONS).astype(np.float32), top_k=40, exact=True)
    check_exact(reader.search(query), model, query)


def test_searches_go_on_while_a_segment_is_built_and_see_all_that_happens(
    table: OpenTable, reader: Collection, chance: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    model = ExactCollection()
    rows = documents(chance, 0, 100)
    table.add(rows)
    model.add(rows, 0.0)
    check(reader, model, chance)
    assert gate.reached.wait(WAIT_SECONDS)  # a refresh started it
    for step in range(6):  # documents come, go and are replaced meanwhile, also those being built in
        rows = documents(chance, 100 + 5 * step - 3 * (step % 2), 5)
        table.add(rows, 1.0)
        model.add(rows, 1.0)
        gone = model.ids[chance.integers(len(model.ids))]
        table.table.delete(gone)
        model.delete(gone)
        check(reader, model, chance)
    assert not is_indexed(reader)
    gate.go.set()
    until(lambda: is_indexed(reader))
    check(reader, model, chance)
    assert gate.builds == 1
    reader.build_now()  # returns when it is saved
    fresh = table.reader()
    check(fresh, model, chance)
    assert 0 < fresh.snapshot.rows_read < len(model)
    fresh.close()


def test_a_segment_whose_rows_are_all_deleted_while_it_is_built(
    table: OpenTable, reader: Collection, chance: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    model = ExactCollection()
    rows = documents(chance, 0, 100)
    table.add(rows)
    model.add(rows, 0.0)
    check(reader, model, chance)
    assert gate.reached.wait(WAIT_SECONDS)
    table.table.delete(*model.ids)
    check(reader, ExactCollection(), chance)
    gate.go.set()
    reader.build_now()
    check(reader, ExactCollection(), chance)
    assert reader.snapshot.segments == ()
    assert reader.counts() == (0, 0, {})


def test_a_build_that_fails_is_logged_and_rows_in_memory_go_on_answering(
    table: OpenTable,
    reader: Collection,
    chance: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(collection_module, "sealed_segment", broken)
    model = ExactCollection()
    rows = documents(chance, 0, 100)
    table.add(rows)
    model.add(rows, 0.0)
    check(reader, model, chance)
    until(lambda: "could not be built" in caplog.text)
    check(reader, model, chance)
    with pytest.raises(MemoryError):
        reader.build_now()
    monkeypatch.undo()
    reader.build_now()
    assert is_indexed(reader)
    check(reader, model, chance)


def test_a_segment_that_cannot_be_saved_is_used_all_the_same(
    table: OpenTable, chance: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    troubled = FakeTroubledStore(table.location.records)
    troubled.fails = lambda operation, key: operation == "put"
    reader = Collection(table.table, table.settings, troubled, table.location.cache_folder)
    model = ExactCollection()
    rows = documents(chance, 0, 100)
    table.add(rows)
    model.add(rows, 0.0)
    reader.build_now()
    assert is_indexed(reader)
    assert "was not saved" in caplog.text
    check(reader, model, chance)
    reader.close()
    assert not list(table.location.records.list("search/segments/"))
    troubled.fails = lambda operation, key: operation in ("get", "open")
    cold = Collection(table.table, table.settings, troubled, table.location.cache_folder)
    check(cold, model, chance)  # from the table
    cold.close()


def test_closing_stops_a_build(
    table: OpenTable, chance: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    reader = table.reader()
    table.add(documents(chance, 0, 100))
    reader.search(Query(np.ones(DIMENSIONS, np.float32)))
    assert gate.reached.wait(WAIT_SECONDS)
    reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "search-builder"]
    assert not is_indexed(reader)
    assert len(reader.search(Query(np.ones(DIMENSIONS, np.float32))).hits) == 10  # searches go on
    with pytest.raises(BuildStopped):
        reader.build_now()


def test_one_build_at_a_time_in_a_process() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def build(background: bool) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return False

    builders = [Builder(build) for _ in range(5)]
    for builder in builders:
        builder.wake()
        builder.wake()
    for builder in builders:
        builder.run_now()
        builder.close()
        builder.wake()  # of no effect any more
    assert most == 1


def test_saved_segments_stay_few_and_mostly_dead_ones_are_built_anew(
    table: OpenTable, reader: Collection, chance: np.random.Generator
) -> None:
    model = ExactCollection()
    for step in range(12):
        rows = documents(chance, 60 * step, 60)
        table.add(rows)
        model.add(rows, 0.0)
        reader.build_now()
    assert len(reader.snapshot.segments) <= 5
    check(reader, model, chance)
    largest = max(reader.snapshot.segments, key=len)
    gone = sorted({largest.columns.ids[row] for row in range(len(largest))})[: len(largest.columns.ids)]
    gone = gone[: int(0.7 * len(gone))]
    table.table.delete(*gone)
    for document_id in gone:
        model.delete(document_id)
    reader.build_now()
    check(reader, model, chance)
    assert largest not in reader.snapshot.segments
    assert sum(map(len, reader.snapshot.segments)) <= 2 * len(model)


def test_threads_search_while_segments_come_and_go(
    table: OpenTable, reader: Collection, chance: np.random.Generator
) -> None:
    """Every answer is one that some version would give: each document has all its parts or none."""
    stop = threading.Event()
    vector = np.ones(DIMENSIONS, dtype=np.float32)
    table.add([Row("always", "image", vector)])

    def search() -> int:
        count = 0
        while not stop.is_set():
            hits = reader.search(Query(vector, top_k=500)).hits
            assert hits[0].document_id == "always"
            assert hits[0].score == pytest.approx(1.0)
            for hit in hits[1:]:
                assert len(hit.parts) == 3
            count += 1
        return count

    def noise(n: int) -> list[Row]:
        vectors = chance.standard_normal((3, DIMENSIONS)).astype(np.float32)
        return [Row(f"d{n}", "video", one, part_index=k) for k, one in enumerate(vectors)]

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search) for _ in range(2)]
        try:
            for step in range(8):
                table.add([row for n in range(50) for row in noise(100 * step + n)])
                table.table.delete(*[f"d{100 * step + n}" for n in range(0, 50, 7)])
                reader.build_now()
        finally:
            stop.set()
        assert all(one.result(timeout=WAIT_SECONDS) > 0 for one in searches)
    assert reader.counts()[1] == 8 * (50 - 8) + 1


def test_what_failed_is_tried_again_though_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.builder._PAUSE_AFTER_FAILURE_SECONDS", 0.01)
    tries = 0

    def build(background: bool) -> bool:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise OSError("The disk is full.")
        return False

    builder = Builder(build)
    builder.wake()
    until(lambda: tries == 4)
    builder.close()


def test_waking_while_the_last_look_is_under_way_makes_it_look_again() -> None:
    looking, go = threading.Event(), threading.Event()
    looks = 0

    def build(background: bool) -> bool:
        nonlocal looks
        looks += 1
        looking.set()
        assert go.wait(WAIT_SECONDS)
        return False

    builder = Builder(build)
    builder.wake()
    assert looking.wait(WAIT_SECONDS)
    builder.wake()  # something became due after it was looked for
    go.set()
    until(lambda: looks == 2)
    builder.close()


def test_closing_does_not_wait_for_the_next_try() -> None:
    failed = threading.Event()

    def build(background: bool) -> bool:
        failed.set()
        raise MemoryError

    builder = Builder(build)
    builder.wake()
    assert failed.wait(WAIT_SECONDS)
    builder.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "search-builder"]
