"""Conditions on columns of metadata mean what they mean on dictionaries."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from exact_search import matches
from hypothesis import example, given, settings
from hypothesis import strategies as st

from search.errors import InvalidQuery
from search.filters import AllOf, AnyOf, Condition, Equals, Exists, In, Not, Range
from search.metadata import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    MetadataColumns,
    check_condition,
    decoded_metadata,
)

NAMES = st.sampled_from(["a", "b", "größe", ""])
INTEGERS = st.one_of(
    st.integers(-3, 3),
    st.builds(
        lambda power, near, sign: sign * ((1 << power) + near),
        st.sampled_from([52, 53, 54, 62, 63, 64, 100, 1024]),
        st.integers(-2, 2),
        st.sampled_from([-1, 1]),
    ),
)
FLOATS = st.one_of(
    st.sampled_from(
        [0.0, -0.0, 0.5, 1.0, 2.0**53, 2.0**53 + 2, -(2.0**63), 1e300, 5e-324, 1.7976931348623157e308]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.text(st.sampled_from(["a", "b", "Z", "é", "\uffff", "\U0001f600", "\0"]), max_size=3)
NUMBERS = st.one_of(INTEGERS, FLOATS)
SCALARS = st.one_of(NUMBERS, TEXTS, st.booleans())
VALUES = st.one_of(SCALARS, st.none(), st.just([1]), st.just({"a": 1}))
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=12)


def bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Condition]:
    optional = st.one_of(st.none(), values)
    return st.builds(Range, NAMES, optional, optional, optional, optional)


LEAVES: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Equals, NAMES, SCALARS),
    st.builds(In, NAMES, st.lists(SCALARS, max_size=12).map(tuple)),
    bounds(NUMBERS),
    bounds(TEXTS),
    st.builds(Exists, NAMES, st.booleans()),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


def columns(rows: list[dict[str, Any]]) -> MetadataColumns:
    return MetadataColumns.of(pa.array([json.dumps(row) for row in rows], pa.large_string()))


@settings(max_examples=600, deadline=None)
@given(ROWS, CONDITIONS)
@example([{"a": (1 << 53) + 1}, {"a": 1 << 53}], Equals("a", float(1 << 53)))
@example([{"a": (1 << 53) + 1}], Range("a", at_most=float(1 << 53)))
@example([{"a": float(1 << 53)}], Range("a", below=(1 << 53) + 1))
@example([{"a": 10**400}, {"a": 1.0}], Range("a", above=1e308))
@example([{"a": 1.0}, {"a": 1e308}], Range("a", below=10**400))
@example([{"a": "\uffff"}, {"a": "\U0001f600"}], Range("a", above="\uffff"))
@example([{"a": True}, {"a": 1}], Equals("a", 1))
@example([{"a": 0.0}], Equals("a", -0.0))
def test_masks_are_what_each_row_says(rows: list[dict[str, Any]], condition: Condition) -> None:
    check_condition(condition)
    found = columns(rows).mask(condition)
    assert found.dtype == np.bool_
    assert found.tolist() == [matches(condition, row) for row in rows]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=40), st.text(max_size=5), st.text(max_size=5))
def test_ranges_of_strings_go_by_code_point(texts: list[str], low: str, high: str) -> None:
    condition = Range("a", at_least=low, below=high)
    found = columns([{"a": text} for text in texts]).mask(condition)
    assert found.tolist() == [low <= text < high for text in texts]


def test_halves_of_surrogate_pairs_are_kept_apart() -> None:
    rows: list[dict[str, Any]] = [{"a": "\ud800"}, {"a": "x"}, {"\udc00": 1}]
    assert decoded_metadata(json.dumps(rows[0])) == rows[0]
    found = columns(rows)
    assert found.mask(Equals("a", "\ud800")).tolist() == [True, False, False]
    assert found.mask(Exists("\udc00")).tolist() == [False, False, True]


def test_rows_beyond_one_block_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.metadata._BLOCK_ROWS", 3)
    rows: list[dict[str, Any]] = [{"n": n, "s": str(n % 3)} if n % 4 else {} for n in range(20)]
    found = columns(rows)
    assert len(found) == 20
    for condition in (Equals("s", "1"), Range("n", at_least=7), Exists("n", False)):
        assert found.mask(condition).tolist() == [matches(condition, row) for row in rows]


def test_the_mask_is_the_callers_own() -> None:
    found = columns([{"a": True}, {"a": False}])
    for condition in (Equals("a", True), Exists("a"), AllOf(())):
        found.mask(condition)[:] = False
    assert found.mask(Equals("a", True)).tolist() == [True, False]


def deep(levels: int) -> Condition:
    condition: Condition = Exists("a")
    for _ in range(levels - 1):
        condition = Not(condition)
    return condition


def test_the_size_of_a_condition_is_bounded() -> None:
    check_condition(deep(MAX_DEPTH))
    check_condition(AnyOf((Exists("a"),) * (MAX_CONDITIONS - 1)))
    check_condition(In("a", ("x",) * MAX_VALUES))
    for condition in (
        deep(MAX_DEPTH + 1),
        deep(100_000),
        AnyOf((Exists("a"),) * MAX_CONDITIONS),
        In("a", ("x",) * (MAX_VALUES + 1)),
    ):
        with pytest.raises(InvalidQuery):
            check_condition(condition)


@pytest.mark.parametrize(
    "condition",
    [
        Equals("a", float("nan")),
        Equals("a", float("inf")),
        Equals("a", None),
        In("a", (["x"],)),
        Range("a", at_least=1, below="x"),
        Range("a", at_least=True),
        Not("a"),
    ],
)
def test_conditions_that_mean_nothing_are_refused(condition: Condition) -> None:
    with pytest.raises(InvalidQuery):
        check_condition(condition)
