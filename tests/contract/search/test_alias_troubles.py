"""Writes on their way through an alias that is switched, and aliases whose records are damaged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from search.config import SearchConfig
from search.engine import SearchEngine
from search.errors import SearchUnavailable
from search.types import Query, Row

ROW = Row("late", "text", np.ones(4, dtype=np.float32))


@pytest.fixture
def engine(config: SearchConfig) -> SearchEngine:
    engine = SearchEngine(config)
    for name in ("one", "two"):
        engine.create("t", name)
    engine.point_alias("t", "live", "one")
    return engine


def ids(engine: SearchEngine, name: str) -> list[str]:
    return [document.document_id for document in engine.scroll("t", name)]


@pytest.mark.parametrize("deleting", [False, True])
def test_a_write_that_a_whole_switch_overtakes_is_in_the_new_collection(
    config: SearchConfig, engine: SearchEngine, monkeypatch: pytest.MonkeyPatch, deleting: bool
) -> None:
    """The writer found the old one by the alias and comes to its commit only after the pause."""
    if deleting:
        for name in ("one", "two"):
            engine.add("t", name, [ROW])
    writer = engine.opened("t", "live").writer
    other = SearchEngine(config)

    def overtaken(write: Callable[..., int]) -> Callable[..., int]:
        def late(*arguments: object) -> int:
            other.point_alias("t", "live", "two")
            return write(*arguments)

        return late

    for name in ("replace", "delete"):
        monkeypatch.setattr(writer, name, overtaken(getattr(writer, name)))
    version = engine.delete("t", "live", "late") if deleting else engine.add("t", "live", [ROW])
    assert ids(other, "live") == ids(engine, "two") == ([] if deleting else ["late"])
    engine.search("t", "two", Query(ROW.vector, min_version=version))  # it is a version of that one


def test_a_damaged_alias_can_be_deleted_and_harms_no_other(engine: SearchEngine) -> None:
    engine.point_alias("t", "other", "two")
    engine._location.records.put("search/aliases/t/live", b"\x00")
    engine._aliases.forget("t", "live")
    assert engine.describe("t", "two").aliases == ("other",)
    assert [info.name for info in engine.collections("t")] == ["one", "two"]
    assert engine.drop("t", "two")
    with pytest.raises(SearchUnavailable, match="'live' is damaged"):
        engine.search("t", "live", Query(ROW.vector))
    assert engine.drop_alias("t", "live")
    assert not engine.drop_alias("t", "live")
