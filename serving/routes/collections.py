"""``/v1/collections``: making, listing and deleting collections, their aliases and their clusters."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from search.errors import CollectionNotFound
from search.filters import Condition
from search.types import DEFAULT_SPACE, Cluster, SpaceSpec
from serving.auth import CurrentTenant
from serving.catalogue import space_model
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest
from serving.gateway import gateway_of
from serving.protocol.collections import (
    Alias,
    AliasDeleted,
    ClusterRequest,
    Collection,
    CollectionDeleted,
    CollectionList,
    CollectionRequest,
    MapRequest,
    collection_object,
    spec_of,
)
from serving.protocol.search import COLLECTION_PATTERN, SearchFilters
from serving.retrieval.filters import condition_of
from serving.retrieval.hit_objects import cluster_object, map_object
from serving.routes.body import json_schema, read_model

__all__ = ["CollectionName", "router"]

router = APIRouter()

CollectionName = Annotated[str, Path(pattern=COLLECTION_PATTERN)]


@router.post("/v1/collections", openapi_extra=json_schema(CollectionRequest))
async def create_collection(request: Request, tenant: CurrentTenant) -> Collection:
    """Make a collection. Made before with the same settings, it is answered as it is."""
    gateway = gateway_of(request)
    wanted = await read_model(request, CollectionRequest)
    model = gateway.config.text_model
    ours = SpaceSpec(DEFAULT_SPACE, model.dimensions or 0, space_model(model))
    await gateway.collection_limit.check(tenant, wanted.name)
    spec = spec_of(wanted, ours, gateway.config.index)
    return collection_object(await gateway.services.search.create(tenant, wanted.name, spec))


@router.get("/v1/collections")
async def list_collections(request: Request, tenant: CurrentTenant) -> CollectionList:
    """All collections, by name."""
    infos = await gateway_of(request).services.search.collections(tenant)
    return CollectionList(data=[collection_object(info) for info in infos])


@router.get("/v1/collections/{collection}")
async def get_collection(request: Request, collection: CollectionName, tenant: CurrentTenant) -> Collection:
    """A collection by its name or an alias."""
    return collection_object(await gateway_of(request).services.search.describe(tenant, collection))


@router.delete("/v1/collections/{collection}")
async def delete_collection(
    request: Request, collection: CollectionName, tenant: CurrentTenant
) -> CollectionDeleted:
    """Delete a collection, by its name, with all its documents and aliases. Media stay."""
    if not await gateway_of(request).services.search.drop(tenant, collection):
        raise CollectionNotFound(f"There is no collection named '{collection}'.")
    gateway_of(request).collection_limit.forget(tenant, collection)
    return CollectionDeleted(name=collection)


@router.put("/v1/collections/{collection}/aliases/{alias}")
async def point_alias(
    request: Request, collection: CollectionName, alias: CollectionName, tenant: CurrentTenant
) -> Alias:
    """Make ``alias`` mean this collection from now on, whatever it meant before."""
    await gateway_of(request).services.search.point_alias(tenant, alias, collection)
    return Alias(alias=alias, collection=collection)


@router.delete("/v1/collections/{collection}/aliases/{alias}")
async def delete_alias(
    request: Request, collection: CollectionName, alias: CollectionName, tenant: CurrentTenant
) -> AliasDeleted:
    """Delete an alias of this collection."""
    index = gateway_of(request).services.search
    info = await index.describe(tenant, collection)
    if alias not in info.aliases or not await index.drop_alias(tenant, alias):
        raise CollectionNotFound(f"The collection has no alias named '{alias}'.")
    return AliasDeleted(alias=alias, collection=collection)


@router.post("/v1/collections/{collection}/clusters", openapi_extra=json_schema(ClusterRequest))
async def cluster(request: Request, collection: CollectionName, tenant: CurrentTenant) -> dict[str, Any]:
    """Groups of documents that lie together, largest first, each with those nearest to its centre."""
    gateway = gateway_of(request)
    wanted = await read_model(request, ClusterRequest)
    where = _condition(wanted.filters)
    index = gateway.services.search
    with gateway.metrics.time_stage("cluster"):
        found = await unless_gone(request, index.clusters(tenant, collection, wanted.count, where))
        shown = await _groups(request, tenant, collection, found, wanted.include)
    return {"object": "list", "data": shown}


@router.post("/v1/collections/{collection}/map", openapi_extra=json_schema(MapRequest))
async def lay_out(request: Request, collection: CollectionName, tenant: CurrentTenant) -> dict[str, Any]:
    """Documents on a plane, near each other where they are alike, in groups."""
    gateway = gateway_of(request)
    wanted = await read_model(request, MapRequest)
    where = _condition(wanted.filters)
    index = gateway.services.search
    with gateway.metrics.time_stage("map"):
        work = index.layout(tenant, collection, wanted.count, wanted.limit, where)
        found = await unless_gone(request, work)
        groups = await _groups(request, tenant, collection, found.clusters, wanted.include)
    return map_object(found, groups)


async def _groups(
    request: Request, tenant: str, collection: str, found: tuple[Cluster, ...], include: list[Any]
) -> list[dict[str, Any]]:
    gateway = gateway_of(request)
    ids = tuple(document_id for one in found for document_id in one.representatives)
    stored = await gateway.services.search.documents(tenant, collection, ids) if ids else ()
    documents = {document.document_id: document for document in stored}
    linked = [document.rows[0].media_id for document in stored] if "url" in include else []
    urls = await gateway.media_links.to(tenant, linked, request.url)
    return [cluster_object(one, documents, include, urls) for one in found]


def _condition(filters: SearchFilters) -> Condition | None:
    if filters.date_range is not None:
        raise InvalidRequest(
            "Documents cannot be grouped by 'date_range'; use a range on the metadata 'uploaded_at'.",
            "filters.date_range",
        )
    return condition_of(filters)
