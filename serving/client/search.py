"""``/v1/search``, ``/v1/recommend`` and ``/v1/admin/pools``: calls of the client itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from serving.client.answers import PoolList
from serving.client.calls import call, paged
from serving.client.found import Hit, SearchAnswer
from serving.client.requests import Request

__all__ = ["Query", "RootCalls"]

Query: TypeAlias = str | Mapping[str, Any]
"""A text, or ``{"type", "content", "weight"}``: see the API's ``POST /v1/search``."""


class RootCalls:
    """What the client does itself."""

    @paged(SearchAnswer, Hit, "POST /search")
    def search(
        self,
        query: Query | Sequence[Query],
        *,
        collection: str | None = None,
        top_k: int | None = None,
        search_modalities: Sequence[str] | None = None,
        filters: Mapping[str, Any] | None = None,
        score_threshold: float | Mapping[str, float] | None = None,
        mode: str | None = None,
        rank_constant: float | None = None,
        weights: Mapping[str, float] | None = None,
        rerank: Mapping[str, Any] | None = None,
        include: Sequence[str] | None = None,
        min_version: int | None = None,
        cursor: str | None = None,
    ) -> Request:
        """The ``top_k`` best documents for a text, a medium, or up to 16 things together.

        ``search.each(...)`` goes on through further pages of ``top_k``, as far as the server lets it.
        """
        given = [query] if isinstance(query, str | Mapping) else list(query)
        items = [{"type": "text", "content": one} if isinstance(one, str) else dict(one) for one in given]
        how = {"mode": mode, "rank_constant": rank_constant, "weights": weights, "rerank": rerank}
        return Request(
            body={
                "query": items,
                **how,
                **_wanted(collection, top_k, search_modalities, filters, score_threshold, include),
                "min_version": min_version,
                "cursor": cursor,
            }
        )

    @paged(SearchAnswer, Hit, "POST /recommend")
    def recommend(
        self,
        positive: Sequence[str | Mapping[str, Any]] = (),
        negative: Sequence[str | Mapping[str, Any]] = (),
        *,
        user_id: str | None = None,
        space: str | None = None,
        collection: str | None = None,
        top_k: int | None = None,
        search_modalities: Sequence[str] | None = None,
        filters: Mapping[str, Any] | None = None,
        score_threshold: float | Mapping[str, float] | None = None,
        include: Sequence[str] | None = None,
        min_version: int | None = None,
        cursor: str | None = None,
    ) -> Request:
        """Documents like the positive examples and unlike the negative ones (ids, or ``{"id", "weight"}``), and
        like what lies in the collection with this ``user_id``. ``recommend.each(...)`` as of ``search``.
        """
        return Request(
            body={
                "positive": list(positive),
                "negative": list(negative),
                "user_id": user_id,
                "space": space,
                **_wanted(collection, top_k, search_modalities, filters, score_threshold, include),
                "min_version": min_version,
                "cursor": cursor,
            }
        )

    @call(PoolList, "GET /admin/pools")
    def pools(self) -> Request:
        """Every deployment with its replicas and its health. Keys need the scope ``admin``."""
        return Request()


def _wanted(
    collection: str | None,
    top_k: int | None,
    search_modalities: Sequence[str] | None,
    filters: Mapping[str, Any] | None,
    score_threshold: float | Mapping[str, float] | None,
    include: Sequence[str] | None,
) -> dict[str, Any]:
    return {
        "collection": collection,
        "top_k": top_k,
        "search_modalities": None if search_modalities is None else list(search_modalities),
        "filters": filters,
        "score_threshold": score_threshold,
        "include": None if include is None else list(include),
    }
