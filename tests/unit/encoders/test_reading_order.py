"""Lines are read column by column, tables row by row, however the page lies and the lines are shuffled."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.reading_order import reading_order

Box = list[tuple[float, float]]


def box(left: float, top: float, width: float, height: float = 20) -> Box:
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]


def column(left: float, width: float, lines: int, top: float = 0) -> list[Box]:
    return [box(left, top + 30 * line, width) for line in range(lines)]


def turned(boxes: list[Box], degrees: float) -> list[Box]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[(x * cosine - y * sine, x * sine + y * cosine) for x, y in corners] for corners in boxes]


TWO_COLUMNS = [box(0, -60, 830), *column(0, 400, 8), *column(430, 400, 8), box(100, 260, 630)]
"""A heading, two columns whose lines lie at equal heights, and a line below both."""

TABLE = [box(150 * cell, 30 * row, 60 + 10 * cell) for row in range(4) for cell in range(4)]

PAGES = {
    "one column": column(0, 400, 10),
    "two columns": TWO_COLUMNS,
    "three columns": [*column(0, 250, 6), *column(275, 250, 9), *column(550, 250, 5)],
    "heading ends the columns above it": [
        *column(0, 300, 4),
        *column(330, 300, 4),
        box(0, 150, 630),
        *column(0, 300, 4, top=200),
        *column(330, 300, 4, top=200),
    ],
    "table": TABLE,
    "form": [box(left, top, width) for top in (0, 30, 60) for left, width in ((0, 70), (120, 330))],
    "line in two pieces": [box(0, 0, 400), box(0, 30, 150), box(165, 30, 235), box(0, 60, 400)],
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("degrees", [0, 3, -4, 90, 180, 270])
def test_order_of_a_page_however_it_lies(name: str, degrees: float) -> None:
    page = turned(PAGES[name], degrees)
    shuffled = list(range(len(page)))
    random.Random(7).shuffle(shuffled)  # noqa: S311 - no secret
    order = reading_order([page[index] for index in shuffled])
    assert [shuffled[index] for index in order] == list(range(len(page)))


def test_nothing_and_one_line() -> None:
    assert reading_order([]) == ()
    assert reading_order([box(5, 5, 10)]) == (0,)


_numbers = st.integers(0, 1000)
_boxes = st.lists(
    st.tuples(_numbers, _numbers, st.integers(1, 600), st.integers(1, 80)).map(lambda b: box(*b)), max_size=30
)


@given(_boxes, st.randoms(use_true_random=False))
def test_every_line_once_whatever_their_order(boxes: list[Box], chance: random.Random) -> None:
    order = reading_order(boxes)
    assert sorted(order) == list(range(len(boxes)))
    shuffled = boxes.copy()
    chance.shuffle(shuffled)
    assert [boxes[index] for index in order] == [shuffled[index] for index in reading_order(shuffled)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30, unique=True))
def test_lines_below_each_other_are_read_downwards(places: list[int]) -> None:
    boxes = [box(0, 30 * place, 300) for place in places]
    assert [places[index] for index in reading_order(boxes)] == sorted(places)


def test_a_thousand_lines() -> None:
    grid = [box(420 * (index // 50), 30 * (index % 50), 400) for index in range(1000)]
    assert reading_order(np.array(grid)) == tuple(range(1000))


def test_degenerate_boxes() -> None:
    assert sorted(reading_order([[(0.0, 0.0)] * 4] * 3)) == [0, 1, 2]
