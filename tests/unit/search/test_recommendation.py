"""The profile vector: where it points, what does not matter, and when there is none."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from search.errors import DimensionMismatch, InvalidQuery
from search.recommendation import profile_vector
from search.types import Example

_NUMBERS = st.floats(-1, 1, width=32, allow_subnormal=False)


@st.composite
def _examples(draw: st.DrawFn) -> list[Example]:
    dimensions = draw(st.integers(1, 16))
    vectors = arrays.arrays(np.float32, dimensions, elements=_NUMBERS).filter(
        lambda vector: float(np.linalg.norm(vector)) > 0.1
    )
    weights = st.floats(0.1, 4) | st.floats(-1, -0.1)
    return draw(st.lists(st.builds(Example, vectors, weights), min_size=1, max_size=8))


@given(_examples(), st.randoms(use_true_random=False), st.floats(0.25, 64))
def test_profile_has_norm_1_and_neither_order_nor_length_of_vectors_matters(
    examples: list[Example], random: Random, factor: float
) -> None:
    try:
        profile = profile_vector(examples)
    except InvalidQuery:
        assume(False)
    shuffled = [Example(example.vector * np.float32(factor), example.weight) for example in examples]
    random.shuffle(shuffled)

    assert profile.dtype == np.float32
    assert profile.shape == examples[0].vector.shape
    assert np.linalg.norm(profile) == pytest.approx(1, abs=1e-5)
    # Near where examples cancel out, rounding is magnified by as much as the norm is small.
    np.testing.assert_allclose(profile_vector(shuffled), profile, atol=5e-3)


@given(_examples(), st.floats(0.25, 4))
def test_only_the_proportions_of_positive_weights_matter(examples: list[Example], factor: float) -> None:
    liked = [Example(example.vector, abs(example.weight)) for example in examples]
    scaled = [Example(example.vector, factor * example.weight) for example in liked]
    try:
        profile = profile_vector(liked)
    except InvalidQuery:
        assume(False)
    np.testing.assert_allclose(profile_vector(scaled), profile, atol=5e-3)


def test_a_negative_weight_is_the_share_of_the_liked_that_is_taken_away() -> None:
    liked, disliked = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    more = Example(np.array([1, 0], np.float32), 3.0)
    for weight in (-0.2, -1.0):
        expected = np.array([1, weight]) / np.hypot(1, weight)
        np.testing.assert_allclose(
            profile_vector([Example(liked), more, Example(disliked, weight), Example(disliked, weight)]),
            expected,
            atol=1e-6,
        )


def test_one_liked_vector_is_itself_and_weight_0_counts_nothing() -> None:
    vector = np.array([0.6, 0.8], np.float32)
    ignored = Example(np.array([1, 0], np.float32), 0.0)
    np.testing.assert_allclose(profile_vector([Example(vector, 7.0), ignored]), vector, atol=1e-6)
    np.testing.assert_allclose(profile_vector([Example(vector, -1.0)]), -vector, atol=1e-6)


@pytest.mark.parametrize(
    "examples",
    [
        [],
        [Example(np.array([1, 0], np.float32), 0.0)],
        [Example(np.zeros(2, np.float32))],
        [Example(np.array([np.nan, 1], np.float32))],
        [Example(np.array([1, 0], np.float32), float("inf"))],
        [Example(np.array([1, 0], np.float32)), Example(np.array([-1, 0], np.float32))],
        [Example(np.array([3, 4], np.float32)), Example(np.array([0.3, 0.4], np.float32), -1.0)],
    ],
)
def test_examples_that_leave_nothing_are_refused(examples: list[Example]) -> None:
    with pytest.raises(InvalidQuery):
        profile_vector(examples)


def test_examples_of_different_lengths_are_refused() -> None:
    with pytest.raises(DimensionMismatch):
        profile_vector([Example(np.ones(2, np.float32)), Example(np.ones(3, np.float32))])
