"""One vector for a taste: what somebody liked, less what they did not.

Rocchio's relevance feedback (Rocchio 1971, "Relevance feedback in information retrieval"; Manning, Raghavan and
Schütze 2008, "Introduction to Information Retrieval", section 9.1.1) without a first query: the mean of the liked,
minus the mean of the disliked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.errors import DimensionMismatch, InvalidQuery
from search.types import Example, Vector

__all__ = ["profile_vector"]

_LEAST_NORM = 1e-4
"""Examples that cancel out to less than this have no direction but that of rounding."""


def profile_vector(examples: Sequence[Example]) -> Vector:
    """The direction of the examples: float32 ``(dimensions,)`` with L2 norm 1.

    ``sum(w * v) / sum(w)`` over examples of positive weight, minus ``sum(|w| * v) / count`` over those of negative
    weight, each ``v`` brought to norm 1 first, so that weights mean what they say. A negative weight is therefore
    the share of the liked that is taken away: Rocchio's gamma over beta, of which Manning et al. suggest about 0.2.
    Examples of weight 0 are left out. The order of examples changes no more than the last bit.

    Raises ``InvalidQuery`` when there are none, when one is not finite or zero, or when they cancel out;
    ``DimensionMismatch`` when they differ in length.
    """
    counted = [example for example in examples if example.weight != 0]
    if not counted:
        raise InvalidQuery("A recommendation needs at least one example whose weight is not 0.")
    if len({example.vector.shape for example in counted}) > 1:
        raise DimensionMismatch("The examples of a recommendation have vectors of different lengths.")
    vectors = np.stack([example.vector for example in counted]).astype(np.float64)
    weights = np.array([example.weight for example in counted], dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(weights).all() and np.isfinite(norms).all() and (norms > 0).all()):
        raise InvalidQuery(
            "An example of a recommendation has a weight or a vector that is not finite, or zero."
        )
    vectors /= norms[:, None]
    liked, disliked = weights > 0, weights < 0
    profile = np.zeros(vectors.shape[1])
    if liked.any():
        profile += (weights[liked] / weights[liked].sum()) @ vectors[liked]
    if disliked.any():
        profile += (weights[disliked] / np.count_nonzero(disliked)) @ vectors[disliked]
    norm = float(np.linalg.norm(profile))
    if norm < _LEAST_NORM * max(1.0, float(np.abs(weights[disliked]).max(initial=0.0))):
        raise InvalidQuery("The examples cancel each other out: nothing is left to look for.")
    return (profile / norm).astype(np.float32)
