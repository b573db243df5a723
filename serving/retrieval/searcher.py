"""From a search request to hits: every query item becomes a vector, weights, words and filters are applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from search.errors import DimensionMismatch, SearchUnavailable
from search.types import Query, RankFusion, SearchAnswer, Vector
from serving.degradation import Degradation, note
from serving.errors import InvalidRequest, LimitExceeded
from serving.media_vectors import unit_vector
from serving.protocol.search import QueryItem, SearchRequest, Weights
from serving.retrieval.query_items import QueryItems, Understood, texts_of
from serving.retrieval.reranking import Reranker
from serving.retrieval.terms import Found, SearchTerms
from serving.services import SearchIndex

__all__ = ["Searcher"]

_MAX_WORDS_CHARACTERS = 4096
_RANK_CONSTANT = 60.0


class Searcher:
    """Builds queries and runs them. One per gateway."""

    def __init__(
        self,
        search: SearchIndex,
        items: QueryItems,
        terms: SearchTerms,
        reranker: Reranker,
        degradation: Degradation,
    ) -> None:
        self._search = search
        self._items = items
        self._terms = terms
        self._reranker = reranker
        self._degradation = degradation

    async def run(self, tenant: str, request: SearchRequest) -> Found:
        """Search by the items' vectors, summed by weight and normalised again, by the words of the texts among
        them, or by both, with filters and bounds. What cannot be had for a while is done without, as
        ``serving.degradation`` says.
        """
        terms = self._terms.read(tenant, request)
        items = request.query if isinstance(request.query, list) else [request.query]
        many = isinstance(request.query, list)
        params = [f"query[{index}]" if many else "query" for index in range(len(items))]
        _check_mode(request, items, params)
        await self._items.let_in(tenant, items, params)
        query = terms.query
        if request.mode != "vector":
            query = replace(query, text=_words(items))
        if request.mode == "text":
            answer = await self._search.search(tenant, request.collection, query)
            return self._terms.page(tenant, request, terms, answer)
        understanding = self._items.understand(tenant, request.collection, items, params)
        if _goes_by_words_alone(request, items):
            known = await self._degradation.unless_down("vectors", understanding)
            if known is None:
                answer = await self._search.search(tenant, request.collection, query)
                return self._terms.page(tenant, request, terms, answer)
            understood = known
        else:
            understood = await understanding
        query = replace(
            query,
            vector=_sum(understood.vectors, items),
            space=understood.space,
            excluded_documents=understood.excluded,
            fusion=_fusion(request),
        )
        if request.rerank is None:
            answer = await self._found(tenant, request, query)
        else:
            answer = await self._reranked(tenant, request, request.rerank.count, query, items, understood)
        found = self._terms.page(tenant, request, terms, answer, understood.media)
        return replace(found, weights=understood.weights)

    async def _reranked(
        self,
        tenant: str,
        request: SearchRequest,
        count: int,
        query: Query,
        items: Sequence[QueryItem],
        understood: Understood,
    ) -> SearchAnswer:
        """The page of the ``count`` best documents in their new order."""
        first = await self._found(tenant, request, replace(query, offset=0, top_k=max(count, request.top_k)))
        weights = [float(item.weight) for item in items]
        hits = await self._degradation.unless_down(
            "rerank",
            self._reranker.rerank(
                tenant, request.collection, understood.space, understood.vectors, weights, first.hits
            ),
        )
        end = query.offset + query.top_k
        if hits is None:
            page = first.hits[query.offset : end]
            return SearchAnswer(page, first.score_kind, first.version, has_more=len(first.hits) > end)
        return SearchAnswer(hits[query.offset : end], "reranked", first.version, has_more=len(hits) > end)

    async def _found(self, tenant: str, request: SearchRequest, query: Query) -> SearchAnswer:
        """The answer to a query; by its vectors alone where its words cannot be looked for."""
        if request.mode != "hybrid":
            return await self._search.search(tenant, request.collection, query)
        try:
            return await self._search.search(tenant, request.collection, query)
        except SearchUnavailable:
            answer = await self._search.search(tenant, request.collection, replace(query, text=None))
        note("words")
        return answer


def _goes_by_words_alone(request: SearchRequest, items: Sequence[QueryItem]) -> bool:
    """Whether what a request looks for can be found by its words, if need be."""
    return (
        request.mode == "hybrid"
        and request.score_threshold is None
        and all(item.type == "text" for item in items)
    )


def _check_mode(request: SearchRequest, items: Sequence[QueryItem], params: Sequence[str]) -> None:
    """What of a request goes with its mode."""
    if request.mode != "hybrid":
        for name in ("rank_constant", "weights"):
            if getattr(request, name) is not None:
                raise InvalidRequest(f"'{name}' is for the mode 'hybrid'.", name)
    weights = request.weights or Weights()
    if weights.vector == 0 and weights.text == 0:
        raise InvalidRequest("One of the weights at least must be greater than 0.", "weights")
    if request.mode == "vector":
        return
    if request.mode == "text":
        for item, param in zip(items, params, strict=True):
            if item.type != "text":
                raise InvalidRequest(
                    "The mode 'text' looks for words: all queries are texts.", f"{param}.type"
                )
        for name in ("score_threshold", "rerank"):
            if getattr(request, name) is not None:
                raise InvalidRequest(f"'{name}' needs vectors, which the mode 'text' has not.", name)
    words = _words(items)
    if not words.strip():
        raise InvalidRequest(
            f"The mode '{request.mode}' looks for words: it needs a text of positive weight.", "query"
        )
    if len(words) > _MAX_WORDS_CHARACTERS:
        raise LimitExceeded(
            f"The mode '{request.mode}' looks for at most {_MAX_WORDS_CHARACTERS} characters of words.",
            "query",
        )


def _words(items: Sequence[QueryItem]) -> str:
    return "\n".join(text for item in items if item.weight > 0 for text in texts_of(item))


def _sum(vectors: Sequence[Vector], items: Sequence[QueryItem]) -> Vector:
    if len({vector.shape for vector in vectors}) > 1:
        raise DimensionMismatch("The items of this query have vectors of different lengths.")
    total = np.sum(
        [np.float32(item.weight) * vector for item, vector in zip(items, vectors, strict=True)], axis=0
    )
    return unit_vector(
        total, "The weighted queries cancel each other out; nothing is left to search by.", "query"
    )


def _fusion(request: SearchRequest) -> RankFusion:
    weights = request.weights or Weights()
    constant = _RANK_CONSTANT if request.rank_constant is None else request.rank_constant
    return RankFusion(float(constant), float(weights.vector), float(weights.text))
