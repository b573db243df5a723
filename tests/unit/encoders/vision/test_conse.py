"""From class probabilities to a place among sentences."""

from __future__ import annotations

import numpy as np

from encoders.vision.conse import LabelSpace, label_vectors


def test_a_sure_classifier_gives_the_labels_own_place() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    probabilities = np.zeros(50, dtype=np.float32)
    probabilities[7] = 1
    labels, vector = LabelSpace([f"class {index}" for index in range(50)], vectors).place(probabilities)
    assert labels[0].text == "class 7"
    assert labels[0].probability == 1
    assert len(labels) == 10
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, vectors[7] / np.linalg.norm(vectors[7]), atol=1e-6)


def test_square_roots_weigh_and_labels_beyond_the_thirtieth_do_not_count() -> None:
    vectors = np.eye(40, dtype=np.float32)
    probabilities = np.linspace(1, 0.1, 40, dtype=np.float32)
    probabilities /= probabilities.sum()
    _, vector = LabelSpace([str(index) for index in range(40)], vectors).place(probabilities)
    assert not vector[30:].any()
    np.testing.assert_allclose(
        vector[:30] / vector[0], np.sqrt(probabilities[:30] / probabilities[0]), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-6)


def test_labels_are_placed_by_names_and_definitions_without_half_of_their_mean() -> None:
    asked: list[str] = []

    def embed(texts: tuple[str, ...]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[1, 0] if "dog" in text else [0, 1] for text in texts], dtype=np.float32)

    vectors = label_vectors(("dog", "cat"), ("a loyal animal", "a proud animal"), embed)
    np.testing.assert_allclose(vectors, [[0.75, -0.25], [-0.25, 0.75]], atol=1e-6)
    assert "a photo of a cat, a proud animal" in asked
    assert "dog: a loyal animal" in asked
