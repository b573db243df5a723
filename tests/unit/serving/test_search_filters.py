"""Filters on the wire become conditions; every refusal names the field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.filters import AllOf, AnyOf, Equals, Exists, In, Not, Range, walk
from serving.errors import ApiError, LimitExceeded
from serving.protocol.parse import decode_json, validated
from serving.protocol.search import SearchRequest
from serving.retrieval.filters import condition_of


def read(given: dict[str, Any]) -> Any:
    query = {"type": "text", "content": "x"}
    return condition_of(validated(SearchRequest, {"query": query, "filters": given}).filters)


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ({}, None),
        ({"date_range": "last_3_days"}, None),
        ({"user_id": "u"}, Equals("user_id", "u")),
        ({"a": True}, Equals("a", True)),
        ({"a": 1, "b": 1.5}, AllOf((Equals("a", 1), Equals("b", 1.5)))),
        ({"a": {"eq": "x"}}, Equals("a", "x")),
        ({"a": {"ne": 0}}, Not(Equals("a", 0))),
        ({"a": {"in": ["x", 1, True]}}, In("a", ("x", 1, True))),
        ({"a": {"in": []}}, In("a", ())),
        ({"a": {"exists": False}}, Exists("a", False)),
        ({"a": {"gte": 1, "lt": 5}}, Range("a", at_least=1, below=5)),
        ({"a": {"gt": "2026", "lte": "2027"}}, Range("a", above="2026", at_most="2027")),
        (
            {"a": {"gte": 1, "exists": True, "ne": 3}},
            AllOf((Exists("a", True), Not(Equals("a", 3)), Range("a", at_least=1))),
        ),
        ({"not": {"a": 1}}, Not(AllOf((Equals("a", 1),)))),
        (
            {"or": [{"a": 1}, {"b": 2, "c": 3}]},
            AnyOf((AllOf((Equals("a", 1),)), AllOf((Equals("b", 2), Equals("c", 3))))),
        ),
        (
            {"and": [{"a": {"gt": 1}}, {"not": {"b": "x"}}], "user_id": "u"},
            AllOf(
                (
                    AllOf((AllOf((Range("a", above=1),)), AllOf((Not(AllOf((Equals("b", "x"),))),)))),
                    Equals("user_id", "u"),
                )
            ),
        ),
        ({"eq": "a name like any other"}, Equals("eq", "a name like any other")),
    ],
)
def test_conditions(given, condition):
    assert read(given) == condition


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"price": {"gte": [1]}}, "filters.price.gte"),
        ({"price": {"gte": None}}, "filters.price.gte"),
        ({"price": {"gte": True}}, "filters.price.gte"),
        ({"price": {"gte": 1, "lt": "5"}}, "filters.price.lt"),
        ({"price": {"over": 1}}, "filters.price.over"),
        ({"price": {}}, "filters.price"),
        ({"price": None}, "filters.price"),
        ({"price": [1]}, "filters.price"),
        ({"price": 1 << 63}, "filters.price"),
        ({"tag": {"in": "x"}}, "filters.tag.in"),
        ({"tag": {"in": ["x", None]}}, "filters.tag.in[1]"),
        ({"tag": {"in": ["x"] * 1001}}, "filters.tag.in"),
        ({"tag": {"eq": "x" * 1025}}, "filters.tag.eq"),
        ({"tag": {"exists": 1}}, "filters.tag.exists"),
        ({"and": []}, "filters.and"),
        ({"and": {"a": 1}}, "filters.and"),
        ({"or": [{"a": 1}, 5]}, "filters.or[1]"),
        ({"or": [{}]}, "filters.or[0]"),
        ({"or": [{"a": {"gte": {}}}]}, "filters.or[0].a.gte"),
        ({"not": 5}, "filters.not"),
        ({"not": {}}, "filters.not"),
        ({"not": {"date_range": "last_3_days"}}, "filters.not.date_range"),
        ({"": 1}, "filters."),
        ({"n" * 65: 1}, "filters." + "n" * 64),
        ({"date_range": 5}, "filters.date_range"),
        ({"date_range": {"since": "2026"}}, "filters.date_range.since"),
    ],
)
def test_refusals_name_the_field(given, param):
    with pytest.raises(ApiError) as refused:
        read(given)
    assert refused.value.param == param


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        inner = {"not": inner}
    return inner


def test_depth_and_number_are_bounded():
    assert read(nested(8)) is not None
    with pytest.raises(LimitExceeded) as refused:
        read(nested(9))
    assert refused.value.param == "filters." + ".".join(["not"] * 8)
    assert len(list(walk(read({"or": [{"a": n} for n in range(255)]})))) == 511
    with pytest.raises(LimitExceeded):
        read({"or": [{"a": n} for n in range(256)]})
    assert read({"tag": {"in": ["x"] * 1000}}) is not None
    assert read({"tag": {"eq": "x" * 1024}}) is not None
    assert read({"price": (1 << 63) - 1}) is not None


def test_a_bottomless_tree_is_refused_in_words():
    body = b'{"filters":' + b'{"not":' * 5000 + b"{}" + b"}" * 5000 + b"}"
    with pytest.raises(ApiError):
        read(decode_json(body)["filters"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["and", "or", "not", "eq", "ne", "gt", "lt", "in", "exists", "date_range", "a", ""]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=5) | st.sampled_from(["and", "or", "not", "date_range"]), json_values)
)
def test_whatever_is_sent_is_read_or_refused(given):
    try:
        condition, param = read(given), "filters"
    except ApiError as error:
        condition, param = None, error.param
    assert param is not None
    assert param.startswith("filters")
    assert condition is None or list(walk(condition))
