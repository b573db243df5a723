"""What holds for every hit of a search or recommendation, and the page of hits that comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from search.types import Hit, Query, ScoreKind, SearchAnswer
from serving.config import RequestLimits
from serving.errors import LimitExceeded
from serving.perceiver import Perceived
from serving.protocol.search import ScoreThresholds, Wanted
from serving.retrieval.cursor import CursorSigner, Position
from serving.retrieval.filters import condition_of, date_bounds

__all__ = ["Found", "SearchTerms", "Terms"]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of hits, best first, what their scores are, of which version, how to go on, what was perceived of the
    query's media, in the query's order, and how much each modality counts in mixed items, by their place.
    """

    hits: tuple[Hit, ...]
    score_kind: ScoreKind
    version: int
    has_more: bool
    next_cursor: str | None
    media: tuple[Perceived, ...] = ()
    weights: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """A query that lacks only what is looked for, and where in its answer the page begins."""

    query: Query
    position: Position = field(default_factory=lambda: Position(0, 0, 0.0))


class SearchTerms:
    """Reads the fields that all requests have, and signs where they go on. One per gateway."""

    def __init__(self, secret: bytes, limits: RequestLimits, clock: Callable[[], float] = time.time) -> None:
        self._cursors = CursorSigner(secret)
        self._limits = limits
        self._clock = clock

    def read(self, tenant: str, request: Wanted) -> Terms:
        """Raises ``InvalidRequest`` with the field that is wrong."""
        if request.top_k > self._limits.max_top_k:
            raise LimitExceeded(
                f"'top_k' is {request.top_k}; at most {self._limits.max_top_k} (max_top_k).", "top_k"
            )
        position = self._cursors.read(tenant, request) or Position(0, 0, self._clock())
        asked_at = datetime.fromtimestamp(position.asked_at_seconds, UTC)
        after, before = date_bounds(request.filters.date_range, asked_at)
        least = request.score_threshold
        by_modality = least.model_dump(exclude_none=True) if isinstance(least, ScoreThresholds) else {}
        # Every page is at least of the first one's version, whichever reader answers.
        min_version = max(request.min_version or 0, position.version)
        query = Query(
            top_k=request.top_k,
            offset=position.offset,
            modalities=tuple(dict.fromkeys(request.search_modalities)),
            where=condition_of(request.filters),
            created_after_seconds=after,
            created_before_seconds=before,
            score_threshold=None if isinstance(least, ScoreThresholds) else least,
            score_thresholds=by_modality,
            min_version=min_version or request.min_version,
            include_vectors="vector" in request.include,
        )
        return Terms(query, position)

    def page(
        self,
        tenant: str,
        request: Wanted,
        terms: Terms,
        answer: SearchAnswer,
        media: tuple[Perceived, ...] = (),
    ) -> Found:
        """``answer`` as a page. No page begins or ends past the ``max_search_depth`` best documents."""
        end = terms.position.offset + len(answer.hits)
        cursor = None
        if answer.has_more and answer.hits and end + request.top_k <= self._limits.max_search_depth:
            # Later pages may be of a later version, but none of an earlier one than this.
            position = Position(end, answer.version, terms.position.asked_at_seconds)
            cursor = self._cursors.sign(tenant, request, position)
        return Found(answer.hits, answer.score_kind, answer.version, answer.has_more, cursor, media)
