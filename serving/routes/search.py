"""``POST /v1/search``, and what fills it: ``/v1/collections/{collection}/documents``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from search.types import Hit
from serving.auth import CurrentTenant
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest, LimitExceeded
from serving.gateway import gateway_of
from serving.indexing import FRAMES_KEY
from serving.media_report import media_used
from serving.protocol.search import COLLECTION_PATTERN, DocumentRequest, SearchRequest
from serving.routes.body import json_schema, read_model

__all__ = ["router"]

router = APIRouter()

Collection = Annotated[str, Path(pattern=COLLECTION_PATTERN)]


@router.post("/v1/search", openapi_extra=json_schema(SearchRequest))
async def search(request: Request, tenant: CurrentTenant) -> dict[str, Any]:
    """Find documents of any modality by texts, images, audio or video."""
    gateway = gateway_of(request)
    wanted = await read_model(request, SearchRequest)
    items = wanted.query if isinstance(wanted.query, list) else [wanted.query]
    types = {item.type for item in items}
    request.state.modality = types.pop() if len(types) == 1 else "mixed"
    with gateway.metrics.time_stage("search"):
        found = await unless_gone(request, gateway.searcher.run(tenant, wanted))
    answer: dict[str, Any] = {"results": [_result(hit) for hit in found.hits]}
    if found.media:
        answer["manymodal"] = media_used(found.media)
    return answer


@router.post("/v1/collections/{collection}/documents", openapi_extra=json_schema(DocumentRequest))
async def add_document(request: Request, collection: Collection, tenant: CurrentTenant) -> dict[str, Any]:
    """Make a stored medium or a text searchable. An ``id`` used before is replaced."""
    gateway = gateway_of(request)
    wanted = await read_model(request, DocumentRequest)
    indexer = gateway.indexer
    with gateway.metrics.time_stage("index"):
        if wanted.text is not None and wanted.media_id is None:
            request.state.modality = "text"
            limit = gateway.config.limits.max_text_characters
            if len(wanted.text) > limit:
                raise LimitExceeded(
                    f"'text' is longer than {limit} characters (max_text_characters).", "text"
                )
            work = indexer.add_text(tenant, collection, wanted.text, wanted.id, wanted.metadata)
        elif wanted.media_id is not None and wanted.text is None:
            work = indexer.add_media(tenant, collection, wanted.media_id, wanted.id, wanted.metadata)
        else:
            raise InvalidRequest("A document must have exactly one of 'media_id' and 'text'.", "media_id")
        document = await unless_gone(request, work)
    return {
        "id": document.id,
        "object": "document",
        "collection": collection,
        "parts": document.parts,
        "version": document.version,
    }


@router.delete("/v1/collections/{collection}/documents/{document_id}")
async def delete_document(
    request: Request,
    collection: Collection,
    document_id: Annotated[str, Path(max_length=128)],
    tenant: CurrentTenant,
) -> dict[str, Any]:
    """Remove a document from a collection; a missing one is removed already."""
    version = await gateway_of(request).services.search.delete(tenant, collection, document_id)
    return {"id": document_id, "object": "document.deleted", "deleted": True, "version": version}


def _result(hit: Hit) -> dict[str, Any]:
    metadata = dict(hit.metadata)
    frames = metadata.pop(FRAMES_KEY, None)
    result: dict[str, Any] = {
        "id": hit.document_id,
        "type": hit.modality,
        "url": f"/v1/media/{hit.media_id}/content" if hit.media_id else None,
        "media_id": hit.media_id,
        "similarity_score": hit.score,
        "metadata": metadata,
    }
    if hit.modality == "text":
        result["text"] = hit.text
    if isinstance(frames, int | float):
        # The first parts of a video are its frames, the others what is said in it.
        result["matched_frames"] = sorted(part.part_index for part in hit.parts if part.part_index < frames)
    result["matches"] = [
        {
            "part_index": part.part_index,
            "start_seconds": part.start_seconds,
            "end_seconds": part.end_seconds,
            "score": part.score,
            "text": part.text,
        }
        for part in hit.parts
    ]
    return result
