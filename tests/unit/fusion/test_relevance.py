"""Which lines a question is about."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.relevance import relevance
from fusion.sections import Keep, choose

LINES = [
    "We open at nine.",
    "Tickets cost 20 dollars.",
    "The tour starts at the fountain.",
    "Children are free.",
]


def best(question: str) -> int:
    scores = relevance(question, LINES)
    return scores.index(max(scores))


def test_words_and_numbers_find_their_line():
    assert best("How much is a ticket?") == 1
    assert best("When do they OPEN?") == 0
    assert best("Do children pay?") == 3
    assert best("what is 20?") == 1
    assert best("Where does the tour begin?") == 2


def test_words_of_most_lines_say_nothing():
    lines = ["the cat", "the dog", "the bird", "the fish eats the dog"]
    assert relevance("the", lines) == [0, 0, 0, 0]
    scores = relevance("the fish or the dog", lines)
    assert scores[3] > scores[1] > scores[0] == scores[2] == 0
    assert relevance("anything", []) == []
    assert relevance("", lines) == [0, 0, 0, 0]


@given(
    st.lists(st.sampled_from(["we", "open", "opened", "at", "9", "ticket", "tickets", "free"]), max_size=6),
    st.lists(
        st.lists(st.sampled_from(["open", "at", "9", "tickets", "free", "tour"]), max_size=5), max_size=8
    ),
)
def test_scores_are_the_sums_of_inverse_document_frequencies(question, lines):
    """Word by word, as the paper has it; every stem of these words is another one but for ticket and open."""
    stems = [{word[:4] for word in line} for line in lines]
    asked = {word[:4] for word in question if len(word) > 2 or word == "9"}
    counts = {one: sum(one in stem for stem in stems) for one in asked}
    expected = [
        sum(math.log(len(lines) / counts[one]) for one in asked & stem if counts[one] * 2 <= len(lines))
        for stem in stems
    ]
    assert relevance(" ".join(question), [" ".join(line) for line in lines]) == pytest.approx(expected)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(-10, 600))
def test_spread_items_are_the_most_that_fit_at_equal_steps(costs, room):
    def at_equal_steps(most: int) -> list[int]:
        return [int((place + 0.5) * len(costs) / most) for place in range(most)]

    counts = range(1, len(costs) + 1)
    fitting = [kept for kept in map(at_equal_steps, counts) if sum(costs[index] for index in kept) <= room]
    assert choose(Keep.SPREAD, costs, room) == (fitting[-1] if fitting else [])


def test_wanted_items_come_first_but_leave_room():
    costs = [10] * 10
    assert choose(Keep.ENDS, costs, 40) == [0, 1, 8, 9]
    wanted = [0.0] * 5 + [2.0] + [0.0] * 4
    assert choose(Keep.ENDS, costs, 40, wanted) == [0, 1, 5, 9]
    assert choose(Keep.FIRST, costs, 40, wanted) == [0, 1, 2, 5]
    assert choose(Keep.SPREAD, costs, 40, wanted) == [1, 4, 5, 8]
    all_wanted = [float(index) for index in range(1, 11)]
    assert choose(Keep.FIRST, costs, 40, all_wanted) == [0, 1, 8, 9]


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0, 5)), max_size=30),
    st.integers(-10, 400),
    st.sampled_from(Keep),
)
def test_never_more_than_the_room(items, room, keep):
    costs = [cost for cost, _ in items]
    for wanted in ([], [score for _, score in items]):
        kept = choose(keep, costs, room, wanted)
        assert kept == sorted(set(kept))
        assert sum(costs[index] for index in kept) <= max(0, room)
        if sum(costs) <= room:
            assert len(kept) == len(costs)
