"""Words in texts: any query is plain words, and scores are those of BM25."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_tables import created, rows

from search.location import TableLocation
from search.table import RowTable

TEXTS = {
    "d0": "Ein rotes Auto vor dem Café",
    "d1": "the red car AND the boat",
    "d2": "boat boat boat",
    "d3": "我们在北京看到了一只猫",
    "d4": "user@example.com wrote: order-4711 was late",
    "d5": "was für ein Haus",
    "d6": "",
}


@pytest.fixture(scope="module", params=["unindexed", "indexed"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RowTable:
    table = created(TableLocation.local(tmp_path_factory.mktemp("text") / "t" / "things.lance"))
    for name, text in TEXTS.items():
        table.replace(rows((name, 1), text=text), [name])
    if request.param == "indexed":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("search.maintenance._UNINDEXED_ROWS", 0)
            table.maintain()
        (index,) = (one for one in table.state()._dataset.describe_indices() if one.name == "text_idx")
        assert index.num_rows_indexed == len(TEXTS) + 1
    return table


def found(table: RowTable, text: str, count: int = 10) -> list[str]:
    state = table.state()
    addresses, scores = state.match_text(text, count)
    assert addresses.dtype == np.uint64
    assert scores.dtype == np.float32
    assert (np.diff(scores) <= 0).all()
    assert (scores > 0).all()
    names: list[str] = state.take(addresses, ["document_id"]).column("document_id").to_pylist()
    return names


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("auto", ["d0"]),
        ("CAFE", ["d0"]),
        ("café", ["d0"]),
        ("cars", []),  # no stemming
        ("red boat", ["d1", "d2"]),
        ("北京", ["d3"]),
        ("猫", ["d3"]),
        ("order-4711", ["d4"]),
        ("late example", ["d4"]),
        ("was", ["d4", "d5"]),  # a stop word in one language, and a word in another
        ("AND", ["d1"]),
        ("boat AND car", ["d1", "d2"]),  # any of the words
        ("boat -car NOT red", ["d1", "d2"]),
        ('"boat car"', ["d1", "d2"]),
        ("bo*", []),
        ("text:boat", ["d1", "d2"]),
        ("boat~2 ^5", ["d1", "d2"]),
        ("", []),
        ("  ", []),
        ("!!! ???", []),
    ],
)
def test_what_words_find(table: RowTable, query: str, expected: list[str]) -> None:
    assert sorted(found(table, query)) == expected


def test_the_best_come_first_and_no_more_than_asked_for(table: RowTable) -> None:
    assert found(table, "boat")[0] == "d2"
    assert found(table, "boat", 1) == ["d2"]
    assert found(table, "boat", 0) == []


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_query(table: RowTable, query: str) -> None:
    assert set(found(table, query)) <= set(TEXTS)


def test_a_long_text_is_a_query(table: RowTable, tmp_path: Path) -> None:
    assert "d2" in found(table, "word " * 5000 + "boat")
