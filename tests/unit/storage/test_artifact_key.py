"""Two different requests never share an artifact key; the same request always has the same one."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.keys import artifact_key

SECRET = b"0123456789abcdef"
SHA = hashlib.sha256(b"x").hexdigest()

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
requests = st.tuples(*[st.text(max_size=6)] * 6, st.dictionaries(st.text(max_size=3), values, max_size=3))


def typed(value: Any) -> Any:
    """A value with its types spelled out: unlike ``==``, tells ``1``, ``1.0`` and ``True`` apart."""
    match value:
        case dict():
            return ("dict", frozenset((name, typed(item)) for name, item in value.items()))
        case list() | tuple():
            return ("list", tuple(typed(item) for item in value))
        case _:
            return (type(value).__name__, repr(value))


@given(requests, requests)
def test_keys_are_equal_exactly_when_requests_are(one: Any, other: Any) -> None:
    same_key = artifact_key(SECRET, *one) == artifact_key(SECRET, *other)
    assert same_key == (typed(one) == typed(other))


@given(
    st.lists(st.text(max_size=3), min_size=6, max_size=6),
    st.integers(0, 4),
    st.text(min_size=1, max_size=3),
)
def test_moving_text_across_a_field_border_changes_the_key(fields: list[str], at: int, moved: str) -> None:
    one, other = list(fields), list(fields)
    one[at] += moved
    other[at + 1] = moved + other[at + 1]
    assert artifact_key(SECRET, *one, {}) != artifact_key(SECRET, *other, {})


@given(st.dictionaries(st.text(max_size=3), values, max_size=4))
def test_order_of_parameters_does_not_matter(params: dict[str, Any]) -> None:
    turned = dict(reversed(params.items()))
    assert artifact_key(SECRET, "t", SHA, "task", "m", "r", "p", params) == artifact_key(
        SECRET, "t", SHA, "task", "m", "r", "p", turned
    )


def test_lookalike_values_differ() -> None:
    lookalikes: list[Any] = [1, 1.0, True, "1", "1.0", "true", None, "null"]
    lookalikes += [[1], ["1"], {}, [], "", "[]", {"1": None}]
    keys = {artifact_key(SECRET, "t", SHA, "x", "m", "r", "p", {"v": value}) for value in lookalikes}
    assert len(keys) == len(lookalikes)


def test_tenants_and_secrets_separate_keys() -> None:
    key = artifact_key(SECRET, "a", SHA, "x", "m", "r", "p", {})
    assert key != artifact_key(SECRET, "b", SHA, "x", "m", "r", "p", {})
    assert key != artifact_key(SECRET + b"!", "a", SHA, "x", "m", "r", "p", {})
    assert re.fullmatch("[0-9a-f]{64}", key)


class Method(enum.StrEnum):
    UNIFORM = "uniform"


def test_subclasses_of_plain_values_count_as_their_value() -> None:
    params = {"method": Method.UNIFORM}
    assert artifact_key(SECRET, "t", SHA, "x", "m", "r", "p", params) == artifact_key(
        SECRET, "t", SHA, "x", "m", "r", "p", json.loads(json.dumps(params))
    )


@pytest.mark.parametrize("value", [b"bytes", {1: 2}, {(): 1}, object(), {1}, 1j, [object()]])
def test_values_without_one_meaning_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        artifact_key(SECRET, "t", SHA, "x", "m", "r", "p", {"v": value})


def test_other_refusals() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            artifact_key(SECRET, "t", SHA, "x", "m", "r", "p", {"v": value})
    with pytest.raises(ValueError, match="secret"):
        artifact_key(b"short", "t", SHA, "x", "m", "r", "p", {})
    with pytest.raises(TypeError):
        artifact_key(SECRET, "t", SHA, "x", "m", "r", None, {})
