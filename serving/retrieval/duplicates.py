"""Documents of a collection that are all but the same as one of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from search.errors import DocumentNotFound
from search.types import DEFAULT_SPACE, Hit, Query, StoredDocument
from serving.retrieval.query_items import document_vector, part_vectors
from serving.retrieval.reranking import mutual_similarity
from serving.services import SearchIndex

__all__ = ["CollectionDuplicates", "Duplicate"]

_CANDIDATES = 100
_ROUNDING = 1e-6  # of similarities in float32: a copy's may be a little under 1


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A document with its similarity as the hit's score, and whether it was made of the very same bytes."""

    hit: Hit
    same_content: bool


class CollectionDuplicates:
    """Finds near-duplicates: candidates by the mean of the parts, then part by part. One per gateway."""

    def __init__(self, search: SearchIndex) -> None:
        self._search = search

    async def near(
        self, tenant: str, collection: str, document_id: str, threshold: float, limit: int
    ) -> list[Duplicate]:
        """At most ``limit``, most alike first, of the same modality and at least ``threshold`` alike.

        Raises ``DocumentNotFound``.
        """
        stored = await self._search.documents(tenant, collection, (document_id,))
        if not stored:
            raise DocumentNotFound("The collection has no document of this id.")
        (document,) = stored
        # Of one part: what is compared below is at most the hit's own score.
        least = threshold - _ROUNDING if len(document.rows) == 1 else None
        query = Query(
            score_threshold=least,
            vector=document_vector(document, DEFAULT_SPACE, "document_id"),
            top_k=_CANDIDATES,
            modalities=(document.rows[0].modality,),
            excluded_documents=(document_id,),
        )
        answer = await self._search.search(tenant, collection, query)
        if not answer.hits:
            return []
        ids = tuple(hit.document_id for hit in answer.hits)
        others = await self._search.documents(tenant, collection, ids)
        alike = await asyncio.to_thread(_compared, document, others, answer.hits)
        return [one for one in alike if one.hit.score >= threshold - _ROUNDING][:limit]


def _compared(
    document: StoredDocument, others: Sequence[StoredDocument], hits: Sequence[Hit]
) -> list[Duplicate]:
    stored = {other.document_id: other for other in others}
    mine: Any = part_vectors(document, DEFAULT_SPACE)
    content_hash = document.rows[0].content_hash
    found = []
    for hit in hits:
        if hit.document_id in stored:  # else deleted since
            other = stored[hit.document_id]
            score = mutual_similarity(mine, part_vectors(other, DEFAULT_SPACE))
            same = content_hash is not None and other.rows[0].content_hash == content_hash
            found.append(Duplicate(structs.replace(hit, score=score), same))
    return sorted(found, key=lambda one: (-one.hit.score, one.hit.document_id))
