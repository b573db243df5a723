"""Which media are asked about: few of them often, most of them once."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Popularity"]


class Popularity:
    """Zipf's law over ``count`` media: the one of rank r is asked about as often as ``r ** -exponent``.

    The cache holds the most popular ones, as many as it takes for ``hit_share`` of all questions: what a cache that
    counts uses comes to in the long run. What is not among them is looked at each time it is asked about (unless
    somebody else has it looked at right then).
    """

    def __init__(self, count: int, exponent: float, hit_share: float) -> None:
        weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
        self._up_to = np.cumsum(weights) / weights.sum()
        self.cached = int(np.searchsorted(self._up_to, hit_share, side="right")) if hit_share < 1 else count

    def draw(self, dice: np.random.Generator, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """So many media, by rank from 0."""
        found = np.searchsorted(self._up_to, dice.random(count), side="right")
        return np.minimum(found, len(self._up_to) - 1)

    def is_cached(self, medium: int) -> bool:
        """Whether what was perceived of it is in the cache."""
        return medium < self.cached
