"""``POST /v1/search`` and ``POST /v1/recommend``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from serving import origin
from serving.auth import CurrentTenant
from serving.degradation import lacking
from serving.disconnect import unless_gone
from serving.gateway import gateway_of
from serving.media_report import media_used
from serving.protocol.search import RecommendRequest, SearchRequest, Wanted
from serving.retrieval.hit_objects import hit_object, score_object
from serving.retrieval.terms import Found
from serving.routes.body import json_schema, read_model

__all__ = ["router"]

router = APIRouter()


@router.post("/v1/search", openapi_extra=json_schema(SearchRequest))
async def search(request: Request, tenant: CurrentTenant) -> dict[str, Any]:
    """Find documents of any modality by texts, images, audio, video, documents and vectors, or by words."""
    gateway = gateway_of(request)
    wanted = await read_model(request, SearchRequest)
    items = wanted.query if isinstance(wanted.query, list) else [wanted.query]
    types = {item.type for item in items}
    origin.brings(types.pop() if len(types) == 1 else "mixed")
    with gateway.metrics.time_stage("search"):
        found = await unless_gone(request, gateway.searcher.run(tenant, wanted))
    return await _page(request, tenant, wanted, found)


@router.post("/v1/recommend", openapi_extra=json_schema(RecommendRequest))
async def recommend(request: Request, tenant: CurrentTenant) -> dict[str, Any]:
    """Find documents like the examples, and like what a user has in the collection."""
    gateway = gateway_of(request)
    wanted = await read_model(request, RecommendRequest)
    with gateway.metrics.time_stage("recommend"):
        found = await unless_gone(request, gateway.recommender.run(tenant, wanted))
    return await _page(request, tenant, wanted, found)


async def _page(request: Request, tenant: str, wanted: Wanted, found: Found) -> dict[str, Any]:
    gateway = gateway_of(request)
    include = frozenset(wanted.include)
    linked = [hit.media_id for hit in found.hits] if "url" in include else []
    urls = await gateway.media_links.to(tenant, linked, request.url)
    answer: dict[str, Any] = {
        "results": [hit_object(hit, include, urls) for hit in found.hits],
        "score": score_object(found.score_kind),
        "version": found.version,
        "has_more": found.has_more,
        "next_cursor": found.next_cursor,
    }
    extension = media_used(found.media) if found.media else {}
    extension |= {"degraded": missing} if (missing := lacking()) else {}
    extension |= {"weights": found.weights} if found.weights else {}
    if extension:
        answer["manymodal"] = extension
    return answer
