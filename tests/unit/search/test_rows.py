"""Rows on their way into a table: what is refused, and what comes back as it was given."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.columns import TableIdentity, new_identity, read_identity, table_schema, vector_column
from search.errors import DimensionMismatch, InvalidQuery, SearchUnavailable
from search.rows import checked_document_id, rows_table, unit_vector
from search.types import CollectionSpec, IndexSpec, Row, SpaceSpec

SPEC = CollectionSpec((SpaceSpec("default", 3), SpaceSpec("words", 2, "m@1")), IndexSpec("ivf", "binary", 2))
ONES = np.ones(3, np.float32)


def row(document_id: str = "a", **fields: Any) -> Row:
    return Row(document_id, "text", fields.pop("vector", ONES), **fields)


def test_columns_and_the_order_of_parts() -> None:
    words = np.array([3, 4], np.float32)
    table = rows_table(
        "t",
        [
            row("b", text="Grüße", metadata={"x": [1, None]}, content_hash="f" * 64),
            row("a", vectors={"words": words}, part_index=7, start_seconds=0.5, end_seconds=1.0),
            row("b", media_id="m"),
        ],
        SPEC,
        12.5,
    )
    assert table.schema == table_schema(SPEC)
    assert table.column("document_id").to_pylist() == ["b", "a", "b"]
    assert table.column("ordinal").to_pylist() == [0, 0, 1]
    assert table.column("created_at_seconds").to_pylist() == [12.5] * 3
    assert table.column("content_hash").to_pylist() == ["f" * 64, None, None]
    assert [json.loads(value) for value in table.column("metadata").to_pylist()] == [{"x": [1, None]}, {}, {}]
    assert table.column("vector_words").to_pylist() == [None, pytest.approx([0.6, 0.8]), None]
    for vector in table.column("vector").to_pylist():
        assert vector == pytest.approx([3**-0.5] * 3)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"vector": np.ones(4, np.float32)}, DimensionMismatch),
        ({"vector": np.zeros(3, np.float32)}, InvalidQuery),
        ({"vectors": {"words": ONES}}, DimensionMismatch),
        ({"vectors": {"words": np.array([np.inf, 1], np.float32)}}, InvalidQuery),
        ({"vectors": {"missing": ONES}}, InvalidQuery),
        ({"vectors": {"default": ONES}}, InvalidQuery),
        ({"content_hash": "F" * 64}, InvalidQuery),
        ({"content_hash": "f" * 63}, InvalidQuery),
        ({"content_hash": ""}, InvalidQuery),
        ({"text": "x" * (1 << 20) + "y"}, InvalidQuery),
        ({"metadata": {"x": float("inf")}}, InvalidQuery),
        ({"metadata": {"x": {1, 2}}}, InvalidQuery),
    ],
)
def test_what_cannot_be_stored(fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        rows_table("t", [row(), row("b", **fields)], SPEC, 0.0)


@given(st.text(min_size=1, max_size=512))
def test_ids_are_any_unicode_text(text: str) -> None:
    assert checked_document_id(text) == text


@pytest.mark.parametrize("bad", ["", "x" * 513, "\ud800", None, 3])
def test_ids_that_no_document_has(bad: Any) -> None:
    with pytest.raises(InvalidQuery):
        checked_document_id(bad)


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=3, max_size=3))
def test_vectors_get_norm_one(numbers: list[float]) -> None:
    vector = np.array(numbers, np.float32)
    if not vector.any():
        return
    unit = unit_vector(vector, 3)
    assert np.linalg.norm(unit.astype(np.float64)) == pytest.approx(1.0, abs=1e-5)
    wide = vector.astype(np.float64)
    np.testing.assert_allclose(unit, wide / np.linalg.norm(wide), rtol=1e-6, atol=1e-30)


def test_the_column_of_a_space() -> None:
    assert vector_column(SPEC, "default") == "vector"
    assert vector_column(SPEC, "words") == "vector_words"
    with pytest.raises(InvalidQuery, match="default, words"):
        vector_column(SPEC, "sound")


def test_a_table_says_which_collection_it_is() -> None:
    identity = new_identity(SPEC, 3.25)
    assert identity.uid != new_identity(SPEC, 3.25).uid
    assert read_identity(table_schema(SPEC, identity).metadata) == identity
    dropped = TableIdentity(None, None, 3.25)
    assert read_identity(table_schema(SPEC, dropped).metadata) == dropped


@pytest.mark.parametrize(
    "metadata", [None, {}, {b"manymodal": b"{"}, {b"manymodal": b"[]"}, {b"manymodal": b'{"uid": "x"}'}]
)
def test_a_table_of_another_kind_is_refused(metadata: dict[bytes, bytes] | None) -> None:
    with pytest.raises(SearchUnavailable):
        read_identity(metadata)
