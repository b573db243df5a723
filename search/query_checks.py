"""What a query may ask for."""

from __future__ import annotations

import math

from search.errors import InvalidQuery
from search.metadata import check_condition
from search.rank_fusion import check_fusion
from search.types import Query

__all__ = ["MAX_REACH", "check_query"]

MAX_REACH = 10_000
"""The last place that an answer may hold."""

_MAX_EXCLUDED = 10_000
_MAX_TEXT_CHARACTERS = 10_000


def check_query(query: Query) -> None:
    """Raise ``InvalidQuery`` for a query that cannot be answered."""
    if query.vector is None and query.text is None:
        raise InvalidQuery("A search needs a vector, words, or both.")
    if query.top_k < 1 or query.offset < 0 or query.offset + query.top_k > MAX_REACH:
        raise InvalidQuery(
            f"top_k must be 1 at least and offset 0 at least, and together they reach to place {MAX_REACH} at most."
        )
    if query.text is not None and len(query.text) > _MAX_TEXT_CHARACTERS:
        raise InvalidQuery(f"The words to search for may have {_MAX_TEXT_CHARACTERS} characters at most.")
    if len(query.excluded_documents) > _MAX_EXCLUDED:
        raise InvalidQuery(f"At most {_MAX_EXCLUDED} documents can be excluded.")
    if query.where is not None:
        check_condition(query.where)
    if query.score_threshold is not None or query.score_thresholds:
        thresholds = [query.score_threshold, *query.score_thresholds.values()]
        if any(threshold is not None and math.isnan(threshold) for threshold in thresholds):
            raise InvalidQuery("A score threshold must be a number.")
    if query.text is not None and query.vector is not None:
        check_fusion(query.fusion)
