"""A collection embedded anew behind an alias while it is written to and searched."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from search.config import SearchConfig
from search.engine import SearchEngine
from search.errors import InvalidQuery, SearchUnavailable
from search.reembedding import reembed
from search.table import RowTable
from search.types import CollectionSpec, Query, Row, SpaceSpec, StoredDocument

NEW = CollectionSpec((SpaceSpec("default", 6, "new"),))
WORDS = np.ones(4, dtype=np.float32)


@pytest.fixture
def engine(config: SearchConfig) -> SearchEngine:
    engine = SearchEngine(config)
    for number in range(30):
        engine.add("t", "old", [document_row(f"d{number:02}", part) for part in range(1 + number % 3)])
    engine.point_alias("t", "live", "old")
    return engine


def document_row(document_id: str, part: int = 0, text: str = "first") -> Row:
    vector = np.random.default_rng(part).standard_normal(4).astype(np.float32)
    return Row(document_id, "text", vector, part_index=part, text=text, metadata={"part": part})


def encode(documents: Sequence[StoredDocument]) -> list[Row]:
    return [
        replace(row, vector=np.resize(row.vector, 6).astype(np.float32))
        for document in documents
        for row in document.rows
    ]


def stored(engine: SearchEngine, collection: str) -> dict[str, list[tuple[int, str, float]]]:
    return {
        document.document_id: [
            (row.part_index, row.text, document.created_at_seconds) for row in document.rows
        ]
        for document in engine.scroll("t", collection, None, 10_000, None)
    }


def test_everything_is_brought_over_and_the_alias_switched(engine: SearchEngine) -> None:
    before = stored(engine, "old")
    done = reembed(engine, "t", "old", NEW, "new", "live", encode)
    assert (done.copied, done.removed) == (30, 0)
    assert stored(engine, "live") == stored(engine, "new") == before == stored(engine, "old")
    assert engine.describe("t", "live").name == "new"
    assert len(engine.search("t", "live", Query(np.ones(6, np.float32), top_k=50)).hits) == 30
    engine.add("t", "old", [document_row("later")])  # the old one may be written to again, by its own name
    assert "later" not in stored(engine, "live")
    with pytest.raises(InvalidQuery):
        reembed(engine, "t", "old", NEW, "new", "new", encode)


def test_a_run_that_was_cut_short_goes_on(
    config: SearchConfig, engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.reembedding._BATCH_DOCUMENTS", 4)
    calls = itertools.count()

    def failing(documents: Sequence[StoredDocument]) -> list[Row]:
        if next(calls) == 3:
            raise SearchUnavailable("The encoder is away.")
        return encode(documents)

    with pytest.raises(SearchUnavailable, match="encoder"):
        reembed(engine, "t", "old", NEW, "new", "live", failing)
    assert sorted(stored(engine, "new")) == [f"d{number:02}" for number in range(12)]
    assert engine.describe("t", "live").name == "old"
    engine.delete("t", "live", "d05")
    engine.add("t", "live", [document_row("d06", text="second")])
    done = reembed(SearchEngine(config), "t", "old", NEW, "new", "live", encode)
    assert (done.copied, done.removed) == (19, 1)
    assert stored(engine, "live") == stored(engine, "old")
    assert stored(engine, "live")["d06"][0][1] == "second"


def test_documents_may_be_left_out(engine: SearchEngine) -> None:
    def some(documents: Sequence[StoredDocument]) -> list[Row]:
        return [row for row in encode(documents) if row.document_id != "d03"]

    assert reembed(engine, "t", "old", NEW, "new", "live", some).copied == 29
    assert "d03" not in stored(engine, "live")


def test_a_pause_ends_by_itself(engine: SearchEngine, config: SearchConfig) -> None:
    """The process that re-embeds dies right after it paused the writes."""

    table = engine.opened("t", "old").table
    table.pause_writes(time.time() + 1.0)
    other = SearchEngine(config)
    version = other.add("t", "live", [document_row("new one")])  # waits
    assert "new one" in {hit.document_id for hit in search(engine, version)}


def search(engine: SearchEngine, version: int) -> tuple[object, ...]:
    return engine.search("t", "live", Query(WORDS, top_k=100, min_version=version)).hits


def test_what_is_written_meanwhile_is_neither_lost_nor_brought_back(
    config: SearchConfig, engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers through the alias, in engines of their own, go on all the time, over a switch that takes its time."""
    stop = threading.Event()
    point_alias = engine.point_alias

    def slowly(tenant: str, alias: str, name: str) -> None:
        time.sleep(0.5)
        point_alias(tenant, alias, name)
        time.sleep(0.2)

    monkeypatch.setattr(engine, "point_alias", slowly)
    vectors = {4: WORDS, 6: np.ones(6, np.float32)}

    def write(who: int) -> dict[str, str]:
        own = SearchEngine(config)
        expected: dict[str, str] = {}
        for number in itertools.count():
            if stop.is_set():
                return expected
            name = f"w{who}-{number // 3}"
            if number % 5 == 4:
                own.delete("t", "live", name)
                expected.pop(name, None)
                continue
            dimensions = own.describe("t", "live").spec.spaces[0].dimensions
            try:
                own.add("t", "live", [Row(name, "text", vectors[dimensions], text=str(number))])
            except Exception as error:
                if type(error).__name__ != "DimensionMismatch":  # the alias was switched in between
                    raise
            else:
                expected[name] = str(number)
        raise AssertionError

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, who) for who in range(3)]
        try:
            reembed(engine, "t", "old", NEW, "new", "live", encode)
            for _ in range(3):
                engine.describe("t", "live")
        finally:
            stop.set()
        expected = {}
        for writer in writers:
            expected |= writer.result(timeout=60)
    found = {name: parts[0][1] for name, parts in stored(engine, "live").items() if name.startswith("w")}
    assert found == expected
    assert sum(name.startswith("d") for name in stored(engine, "live")) == 30


def test_the_last_look_is_not_at_documents_as_they_were_a_moment_ago(
    engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another thread refreshes the reader, documents are read as it showed them before."""
    opened = engine.opened("t", "old")
    pause = RowTable.pause_writes

    def written_before(table: RowTable, until_seconds: float) -> None:
        opened.reader.documents(["d01"])
        engine.add("t", "old", [document_row("d01", text="second"), document_row("newest")])
        pause(table, until_seconds)
        assert opened.reader._refresh_lock.acquire(timeout=10)
        threading.Timer(0.5, opened.reader._refresh_lock.release).start()

    monkeypatch.setattr(RowTable, "pause_writes", written_before)
    reembed(engine, "t", "old", NEW, "new", "live", encode)
    assert stored(engine, "live") == stored(engine, "old")
    assert stored(engine, "live")["d01"][0][1] == "second"
