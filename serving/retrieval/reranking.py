"""Ordering the best hits of a search anew, with more work than could be done on all documents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from search.types import Hit, StoredDocument, Vector
from serving.retrieval.query_items import part_vectors
from serving.services import SearchIndex

__all__ = ["LateInteraction", "Reranker", "late_interaction_scores", "mutual_similarity"]


class Reranker(Protocol):
    """A second look at hits. A cross-encoder over texts would be another one; none comes in a package."""

    async def rerank(
        self,
        tenant: str,
        collection: str,
        space: str,
        vectors: Sequence[Vector],
        weights: Sequence[float],
        hits: Sequence[Hit],
    ) -> tuple[Hit, ...]:
        """The hits in their new order, best first, with new scores; those that are gone meanwhile are left out.

        ``vectors`` are the query items' in ``space``, of norm 1, with their ``weights``.
        """
        ...


class LateInteraction:
    """Holds every query item against every part of a document and takes its best match, so that a video that shows
    one thing here and the other there is found by both.

    The sum over query items of the largest similarity to a part is that of ColBERT (Khattab and Zaharia 2020); here
    items are weighted, and the sum is divided by the weights', so that scores stay within -1 to 1.
    """

    def __init__(self, search: SearchIndex) -> None:
        self._search = search

    async def rerank(
        self,
        tenant: str,
        collection: str,
        space: str,
        vectors: Sequence[Vector],
        weights: Sequence[float],
        hits: Sequence[Hit],
    ) -> tuple[Hit, ...]:
        """See ``Reranker.rerank``."""
        if not hits:
            return ()
        ids = tuple(hit.document_id for hit in hits)
        documents = await self._search.documents(tenant, collection, ids)
        scores = await asyncio.to_thread(
            late_interaction_scores, np.stack(vectors), np.array(weights, np.float64), documents, space
        )
        found = [
            structs.replace(hit, score=scores[hit.document_id]) for hit in hits if hit.document_id in scores
        ]
        return tuple(sorted(found, key=lambda hit: (-hit.score, hit.document_id)))


def late_interaction_scores(
    vectors: NDArray[np.float32],
    weights: NDArray[np.float64],
    documents: Sequence[StoredDocument],
    space: str,
) -> dict[str, float]:
    """Scores by document id of query items ``(items, dimensions)``; documents without vectors in the space have
    none.
    """
    share = weights / np.abs(weights).sum()
    scores = {}
    for document in documents:
        parts = part_vectors(document, space)
        if parts is not None:
            scores[document.document_id] = float((vectors @ parts.T).max(axis=1) @ share)
    return scores


def mutual_similarity(these: NDArray[np.float32], those: NDArray[np.float32]) -> float:
    """How alike two documents are, part by part: the mean over one's parts of the best match in the other, the
    smaller of both directions. 1 for copies, less for an extract and its whole. Parts are of norm 1.
    """
    similarities = these @ those.T
    return float(min(similarities.max(axis=1).mean(), similarities.max(axis=0).mean()))
