"""``/v1/collections/{collection}/documents``: what a collection holds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import StringConstraints

from search.errors import DocumentNotFound
from search.filters import Condition
from search.types import StoredDocument
from serving import origin
from serving.auth import CurrentTenant
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest, LimitExceeded
from serving.gateway import gateway_of
from serving.protocol.collections import (
    DocumentDeleted,
    DocumentFacts,
    DocumentRequest,
    IndexedDocumentAnswer,
)
from serving.protocol.parse import decode_json, validated
from serving.protocol.search import ID_PATTERN, SearchFilters
from serving.retrieval.filters import condition_of
from serving.retrieval.hit_objects import document_object, hit_object
from serving.retrieval.query_items import raw_vector
from serving.routes.body import json_schema, read_model
from serving.routes.collections import CollectionName

__all__ = ["router"]

router = APIRouter()

_MAX_FILTER_CHARACTERS = 8192
_MAX_NEAR_DUPLICATES = 100

_MAX_BY_ID = 100

DocumentId = Annotated[str, Path(max_length=128)]
Included = Annotated[
    list[Literal["metadata", "url", "parts", "vector"]],
    Query(max_length=16, description="What to show of each; may be repeated."),
]


@router.post(
    "/v1/collections/{collection}/documents",
    response_model_exclude_none=True,
    openapi_extra=json_schema(DocumentRequest),
)
async def add_document(
    request: Request, collection: CollectionName, tenant: CurrentTenant
) -> IndexedDocumentAnswer:
    """Make a stored medium, a text, both together, or vectors of one's own searchable. An ``id`` used before is
    replaced.
    """
    gateway = gateway_of(request)
    wanted = await read_model(request, DocumentRequest)
    vectors = {name: raw_vector(numbers, f"vectors.{name}") for name, numbers in wanted.vectors.items()}
    indexer = gateway.indexer
    with gateway.metrics.time_stage("index"):
        if wanted.modality is not None and (wanted.media_id is not None or wanted.text is not None):
            raise InvalidRequest("'modality' is for documents that have vectors only.", "modality")
        if wanted.text is not None:
            origin.brings("text")
            limit = gateway.config.limits.max_text_characters
            if len(wanted.text) > limit:
                raise LimitExceeded(
                    f"'text' is longer than {limit} characters (max_text_characters).", "text"
                )
            if wanted.media_id is None:
                work = indexer.add_text(tenant, collection, wanted.text, wanted.id, wanted.metadata, vectors)
            else:
                origin.brings("mixed")
                work = indexer.add_mixed(
                    tenant, collection, wanted.media_id, wanted.text, wanted.id, wanted.metadata, vectors
                )
        elif wanted.media_id is not None:
            work = indexer.add_media(tenant, collection, wanted.media_id, wanted.id, wanted.metadata, vectors)
        elif "default" in vectors:
            modality = wanted.modality or "text"
            work = indexer.add_vectors(tenant, collection, modality, wanted.id, wanted.metadata, vectors)
        else:
            raise InvalidRequest(
                "A document must have 'media_id' or 'text', or a vector for the space 'default'.",
                "media_id",
            )
        document = await unless_gone(request, work)
    return IndexedDocumentAnswer(
        id=document.id,
        collection=collection,
        parts=document.parts,
        version=document.version,
        weights=dict(document.weights) or None,
        manymodal=DocumentFacts(degraded=list(document.missing)) if document.missing else None,
    )


@router.get("/v1/collections/{collection}/documents")
async def list_documents(
    request: Request,
    collection: CollectionName,
    tenant: CurrentTenant,
    after: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    filters: Annotated[
        str | None, Query(max_length=_MAX_FILTER_CHARACTERS, description="A search's filters, as JSON.")
    ] = None,
    include: Included = ["metadata", "url"],  # noqa: B006 - FastAPI copies it
    document_ids: Annotated[
        list[Annotated[str, StringConstraints(max_length=128)]] | None,
        Query(alias="id", max_length=_MAX_BY_ID, description="Only those of these ids; may be repeated."),
    ] = None,
) -> dict[str, Any]:
    """Documents in order of id; ``last_id`` is the next page's ``after``. Those that are asked for by ``id`` come
    all at once, in the order asked for; missing ones are left out.
    """
    gateway = gateway_of(request)
    if document_ids:
        return await _by_id(
            request, tenant, collection, document_ids, include, alone=after is filters is None
        )
    where = _condition(filters)
    found = await gateway.services.search.scroll(tenant, collection, after, limit + 1, where)
    page = found[:limit]
    return {
        "object": "list",
        "data": await _shown(request, tenant, collection, page, include),
        "first_id": page[0].document_id if page else None,
        "last_id": page[-1].document_id if page else None,
        "has_more": len(found) > limit,
    }


@router.get("/v1/collections/{collection}/documents/{document_id}")
async def get_document(
    request: Request,
    collection: CollectionName,
    document_id: DocumentId,
    tenant: CurrentTenant,
    include: Included = ["metadata", "url", "parts"],  # noqa: B006 - FastAPI copies it
) -> dict[str, Any]:
    """A document, its parts, and, if asked for, their vectors."""
    found = await gateway_of(request).services.search.documents(tenant, collection, (document_id,))
    if not found:
        raise DocumentNotFound("The collection has no document of this id.")
    (shown,) = await _shown(request, tenant, collection, found, include)
    return shown


@router.delete("/v1/collections/{collection}/documents/{document_id}")
async def delete_document(
    request: Request, collection: CollectionName, document_id: DocumentId, tenant: CurrentTenant
) -> DocumentDeleted:
    """Remove a document from a collection; a missing one is removed already."""
    version = await gateway_of(request).services.search.delete(tenant, collection, document_id)
    return DocumentDeleted(id=document_id, version=version)


@router.get("/v1/collections/{collection}/documents/{document_id}/near-duplicates")
async def get_near_duplicates(
    request: Request,
    collection: CollectionName,
    document_id: DocumentId,
    tenant: CurrentTenant,
    threshold: Annotated[float, Query(ge=0, le=1)] = 0.95,
    limit: Annotated[int, Query(ge=1, le=_MAX_NEAR_DUPLICATES)] = 20,
) -> dict[str, Any]:
    """Documents of the same type whose parts all but match, most alike first."""
    gateway = gateway_of(request)
    work = gateway.duplicates.near(tenant, collection, document_id, threshold, limit)
    found = await unless_gone(request, work)
    urls = await gateway.media_links.to(tenant, (one.hit.media_id for one in found), request.url)
    return {
        "object": "list",
        "data": [
            hit_object(one.hit, ("metadata", "text", "url"), urls) | {"same_content": one.same_content}
            for one in found
        ],
        "score": {
            "kind": "mutual_similarity",
            "meaning": "Mean cosine similarity of each part's best match, the smaller of both directions.",
        },
    }


async def _by_id(
    request: Request,
    tenant: str,
    collection: str,
    document_ids: list[str],
    include: list[Any],
    *,
    alone: bool,
) -> dict[str, Any]:
    if not alone:
        raise InvalidRequest("'id' goes with neither 'after' nor 'filters'.", "id")
    ids = tuple(dict.fromkeys(document_ids))
    found = await gateway_of(request).services.search.documents(tenant, collection, ids)
    return {
        "object": "list",
        "data": await _shown(request, tenant, collection, found, include),
        "first_id": found[0].document_id if found else None,
        "last_id": found[-1].document_id if found else None,
        "has_more": False,
    }


async def _shown(
    request: Request, tenant: str, collection: str, found: tuple[StoredDocument, ...], include: list[Any]
) -> list[dict[str, Any]]:
    linked = [document.rows[0].media_id for document in found] if "url" in include else []
    urls = await gateway_of(request).media_links.to(tenant, linked, request.url)
    return [document_object(document, collection, include, urls) for document in found]


def _condition(filters: str | None) -> Condition | None:
    if filters is None:
        return None
    try:
        wanted = validated(SearchFilters, decode_json(filters.encode("utf-8", "surrogatepass")))
    except InvalidRequest as error:
        raise InvalidRequest(error.message, "filters", error.code) from None
    if wanted.date_range is not None:
        raise InvalidRequest(
            "Lists cannot be filtered by 'date_range'; use a range on the metadata 'uploaded_at'.",
            "filters.date_range",
        )
    return condition_of(wanted)
