"""Open collections are closed, and looked for in vain, in nobody's way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from search.config import SearchConfig
from search.engine import SearchEngine
from search.errors import CollectionNotFound
from search.location import TableLocation
from search.types import Query, Row

QUERY = Query(np.ones(4, dtype=np.float32))
WAIT_SECONDS = 30.0


@pytest.fixture
def engine(tmp_path: Path) -> SearchEngine:
    engine = SearchEngine(SearchConfig(tmp_path, dimensions=4))
    for name in ("one", "two"):
        engine.add("t", name, [Row("a", "image", QUERY.vector)])
    return engine


@pytest.mark.parametrize("end", ["evicted", "dropped", "closed"])
def test_a_collection_that_takes_long_to_close_holds_up_no_other(
    engine: SearchEngine, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    closing, go = threading.Event(), threading.Event()

    def slowly() -> None:
        closing.set()
        assert go.wait(WAIT_SECONDS)

    engine.search("t", "one", QUERY)
    monkeypatch.setattr(engine.opened("t", "one").reader, "close", slowly)
    engine.search("t", "two", QUERY)  # used last
    monkeypatch.setattr("search.catalogue._MAX_OPEN_COLLECTIONS", 2)
    ends: dict[str, Callable[[], object]] = {
        "evicted": lambda: engine.create("t", "three"),
        "dropped": lambda: engine.drop("t", "one"),
        "closed": engine.close,
    }
    with ThreadPoolExecutor(2) as pool:
        ending = pool.submit(ends[end])
        assert closing.wait(WAIT_SECONDS)
        try:
            found = pool.submit(engine.search, "t", "two", QUERY)
            assert len(found.result(timeout=5).hits) == 1
        finally:
            go.set()
        ending.result(timeout=WAIT_SECONDS)


def test_looking_for_what_is_not_there_holds_up_nobody_who_opens(
    engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, go = threading.Event(), threading.Event()
    exists = TableLocation.exists

    def slow(place: TableLocation) -> bool:
        if place.name == "missing":
            looking.set()
            assert go.wait(WAIT_SECONDS)
        return exists(place)

    monkeypatch.setattr(TableLocation, "exists", slow)
    engine.close()  # so that the next search opens
    with ThreadPoolExecutor(2) as pool:
        missing = pool.submit(engine.search, "t", "missing", QUERY)
        assert looking.wait(WAIT_SECONDS)
        try:
            assert len(pool.submit(engine.search, "t", "one", QUERY).result(timeout=5).hits) == 1
        finally:
            go.set()
        with pytest.raises(CollectionNotFound):
            missing.result(timeout=WAIT_SECONDS)
