"""Pictures placed among sentences by what a classifier thinks they show (ConSE, Norouzi et al. 2014).

A picture's vector is the convex combination of its most probable labels' text vectors. What was changed of the
published method, each step measured (``benchmarks/retrieval.py``):

* A label's vector is the mean of four texts, two of them with WordNet's definition of the class: a definition
  names what is around a thing and what it is for, and captions do the same.
* Half of the labels' common mean is taken off: it says "a photo of something", which all pictures share.
* The weights are square roots of the probabilities of the thirty most probable labels: a classifier that is sure of
  one thing hides what else is to be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.types import ImageLabel, Vector
from encoders.weights import package_file

__all__ = ["LabelSpace", "class_definitions", "label_vectors"]

_LABELS, _POWER, _CENTRING = 30, 0.5, 0.5
_SHOWN = 10
_SCENES = ("a person with a {}", "there is a {} in the background")
_FOLDER = "timm/data/_info"


def class_definitions() -> tuple[str, ...]:
    """WordNet's definition of each of ImageNet's 1000 classes, from the text files in the package timm."""
    synsets = package_file("timm", f"{_FOLDER}/imagenet_synsets.txt").read_text(encoding="utf-8").split()
    lines = package_file("timm", f"{_FOLDER}/imagenet_synset_to_definition.txt").read_text(encoding="utf-8")
    definitions = dict(line.split("\t", 1) for line in lines.splitlines())
    return tuple(definitions[synset] for synset in synsets)


def label_vectors(
    names: Sequence[str], definitions: Sequence[str], embed: Callable[[tuple[str, ...]], Vector]
) -> Vector:
    """Each class's place among sentences, float32 ``(classes, dimensions)``; rows are not of norm 1.

    ``names`` are the classes' first names; ``embed`` gives normalised vectors.
    """
    pairs = list(zip(names, definitions, strict=True))
    scenes = np.mean([embed(tuple(scene.format(name) for name in names)) for scene in _SCENES], axis=0)
    seen = embed(tuple(f"a photo of a {name}, {definition}" for name, definition in pairs))
    defined = embed(tuple(f"{name}: {definition}" for name, definition in pairs))
    vectors = _normalised(seen + defined + _normalised(scenes))
    return np.asarray(vectors - _CENTRING * vectors.mean(axis=0), dtype=np.float32)


class LabelSpace:
    """Class probabilities to labels and vectors. Holds no state; thread-safe."""

    def __init__(self, labels: Sequence[str], vectors: Vector) -> None:
        """``vectors`` as ``label_vectors`` makes them, one row per label."""
        self._labels = tuple(labels)
        self._vectors = vectors

    def place(self, probabilities: Vector) -> tuple[tuple[ImageLabel, ...], Vector]:
        """The ten most probable labels, and the float32 vector of norm 1, for the probabilities of one picture."""
        top = np.argsort(-probabilities, kind="stable")[:_LABELS]
        vector = _normalised((probabilities[top] ** _POWER) @ self._vectors[top])
        labels = tuple(ImageLabel(self._labels[index], float(probabilities[index])) for index in top[:_SHOWN])
        return labels, vector


def _normalised(vectors: NDArray[np.floating[Any]]) -> Vector:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)
