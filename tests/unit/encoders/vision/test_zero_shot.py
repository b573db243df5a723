"""Labels from any list of texts: probabilities, order, prompts, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from encoders.vision.zero_shot import PROMPTS, ZeroShot, prompt_ensemble, prompts

LABELS = ("dog", "cat", "car")
AXES = np.eye(3, dtype=np.float32)


def test_the_nearest_label_comes_first() -> None:
    zero_shot = ZeroShot(LABELS, AXES, 0.1)
    ranked = zero_shot.rank(np.array([[0.1, 0.2, 0.9], [0.9, 0.3, 0.1]], dtype=np.float32), 2)
    assert [[label.text for label in one] for one in ranked] == [["car", "cat"], ["dog", "cat"]]


def test_probabilities_are_the_softmax_of_scaled_cosines() -> None:
    picture = np.array([[3.0, 4.0, 0.0]], dtype=np.float32)
    logits = np.array([0.6, 0.8, 0.0]) * 100
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(
        ZeroShot(LABELS, 7 * AXES, 0.01).probabilities(picture)[0], expected, atol=1e-6
    )


def test_equal_labels_keep_their_order() -> None:
    ranked = ZeroShot(("b", "a"), np.ones((2, 4), np.float32), 1.0).rank(np.ones((1, 4), np.float32), 2)
    assert [(label.text, label.probability) for label in ranked[0]] == [("b", 0.5), ("a", 0.5)]


def test_no_pictures_and_more_labels_than_there_are() -> None:
    zero_shot = ZeroShot(LABELS, AXES, 1.0)
    assert zero_shot.rank(np.empty((0, 3), np.float32), 5) == ()
    assert len(zero_shot.rank(AXES[:1], 5)[0]) == 3


@given(
    arrays(np.float32, (4, 6), elements=st.floats(-8, 8, width=32)),
    st.floats(1e-3, 10),
    st.integers(1, 8),
)
def test_any_vectors_give_a_distribution(vectors: np.ndarray, temperature: float, top: int) -> None:
    labels = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    zero_shot = ZeroShot(tuple("abcde"), labels, temperature)
    assert np.allclose(zero_shot.probabilities(vectors).sum(axis=1), 1, atol=1e-5)
    for one in zero_shot.rank(vectors, top):
        chances = [label.probability for label in one]
        assert chances == sorted(chances, reverse=True)
        assert len({label.text for label in one}) == len(one) == min(top, 5)


@pytest.mark.parametrize(
    ("texts", "vectors", "temperature"),
    [
        (LABELS, AXES[:2], 1.0),
        (LABELS, AXES[0], 1.0),
        ((), np.empty((0, 3), np.float32), 1.0),
        (LABELS, AXES, 0.0),
        (LABELS, AXES, float("nan")),
    ],
)
def test_what_does_not_fit_is_refused(
    texts: tuple[str, ...], vectors: np.ndarray, temperature: float
) -> None:
    with pytest.raises(ValueError):
        ZeroShot(texts, vectors, temperature)


def test_pictures_of_another_space_are_refused() -> None:
    zero_shot = ZeroShot(LABELS, AXES, 1.0)
    with pytest.raises(ValueError):
        zero_shot.rank(np.ones((1, 4), np.float32), 1)
    with pytest.raises(ValueError):
        zero_shot.rank(AXES, 0)


def test_prompts_keep_the_order() -> None:
    assert prompts(("dog", "red car")) == ("a photo of a dog", "a photo of a red car")
    assert all(template.count("{}") == 1 for template in PROMPTS)


def test_an_ensemble_is_the_normalised_mean() -> None:
    places = {"x dog": (1.0, 0.0), "y dog": (0.0, 1.0), "x cat": (1.0, 0.0), "y cat": (1.0, 0.0)}

    def embed(texts: tuple[str, ...]) -> np.ndarray:
        return np.array([places[text] for text in texts], dtype=np.float32)

    vectors = prompt_ensemble(("dog", "cat"), embed, ("x {}", "y {}"))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5], [1, 0]], atol=1e-6)
    with pytest.raises(ValueError):
        prompt_ensemble(("dog",), embed, ())
