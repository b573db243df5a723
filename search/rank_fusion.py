"""Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009): one ranking out of several whose scores cannot be
compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.errors import InvalidQuery
from search.types import RankFusion

__all__ = ["check_fusion", "fused", "fusion_depth"]

_LEAST_DEPTH = 128


def fused(rankings: Sequence[tuple[Sequence[str], float]], constant: float) -> list[tuple[str, float]]:
    """Ids and scores, best first, ties in order of id. An id scores the sum of ``weight / (constant + rank)`` over
    the rankings (ids and weight) that it is in; ranks count from 1.
    """
    scores: dict[str, float] = {}
    for ids, weight in rankings:
        for rank, one in enumerate(ids, 1):
            scores[one] = scores.get(one, 0.0) + weight / (constant + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def fusion_depth(wanted: int) -> int:
    """How many documents of each ranking are fused for an answer that reaches to place ``wanted``: 128, or for
    more than 64 places the power of two that is twice as many at least. So pages of an answer fit together.
    """
    return max(_LEAST_DEPTH, 1 << (2 * wanted - 1).bit_length())


def check_fusion(fusion: RankFusion) -> None:
    """Raise ``InvalidQuery`` for settings that rank nothing."""
    numbers = (fusion.constant, fusion.vector_weight, fusion.text_weight)
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise InvalidQuery(
            "The constant and the weights of rank fusion must be finite numbers of at least 0."
        )
