"""Formulas: what they compute, show and refuse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.planning.sheet import Sheet

_NUMBERS = st.floats(1, 1e6)


@given(_NUMBERS, _NUMBERS)
def test_what_is_shown_is_what_was_computed(one: float, other: float) -> None:
    sheet = Sheet()
    sheet.given("one", one, "things", "test")
    sheet.given("other", other, "things", "test")
    value = sheet.compute("both", "ceil(sqrt(one)) * (other - 1) / max(one, 2) + min(one, other)", "things")

    expected = math.ceil(math.sqrt(one)) * (other - 1) / max(one, 2) + min(one, other)
    assert value == sheet["both"] == expected
    figure = next(figure for figure in sheet if figure.name == "both")
    assert figure.formula == "ceil(sqrt(one)) * (other - 1) / max(one, 2) + min(one, other)"
    assert f"{other:.6g}" in figure.numbers
    assert "one" not in figure.numbers


@pytest.mark.parametrize(
    "formula", ["__import__('os')", "one.real", "[one]", "one ** 2", "one if one else 2", "'a'"]
)
def test_a_formula_is_arithmetic_and_nothing_else(formula: str) -> None:
    sheet = Sheet()
    sheet.given("one", 1, "things", "test")
    with pytest.raises(ValueError):
        sheet.compute("two", formula, "things")


def test_a_name_stands_once_and_before_its_use() -> None:
    sheet = Sheet()
    sheet.given("one", 1, "things", "test")
    with pytest.raises(ValueError):
        sheet.given("one", 2, "things", "test")
    with pytest.raises(KeyError):
        sheet.compute("two", "one + three", "things")
