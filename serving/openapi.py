"""The OpenAPI document: FastAPI's, with the request models of routes that read their body themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from serving.protocol.chat import ChatRequest
from serving.protocol.collections import ClusterRequest, CollectionRequest, DocumentRequest
from serving.protocol.embeddings import EmbeddingLine, EmbeddingRequest
from serving.protocol.errors import ErrorBody
from serving.protocol.files import LinkRequest
from serving.protocol.ingest import BatchRequest, IngestRequest
from serving.protocol.media import MediaRequest, WarmUpRequest
from serving.protocol.search import RecommendRequest, SearchRequest
from serving.protocol.understanding import AudioUnderstandingRequest, VideoAnalysisRequest
from serving.protocol.uploads import CompleteRequest, UploadRequest

__all__ = ["REFERENCE", "describe"]

REFERENCE = "#/components/schemas/{model}"
"""Where a model's schema lies in the document."""

_MODELS = (
    ChatRequest,
    VideoAnalysisRequest,
    AudioUnderstandingRequest,
    EmbeddingRequest,
    EmbeddingLine,
    SearchRequest,
    RecommendRequest,
    CollectionRequest,
    ClusterRequest,
    DocumentRequest,
    IngestRequest,
    BatchRequest,
    MediaRequest,
    WarmUpRequest,
    LinkRequest,
    UploadRequest,
    CompleteRequest,
    ErrorBody,
)


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of ``app``; made once, at the first call."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, ours = models_json_schema([(model, "validation") for model in _MODELS], ref_template=REFERENCE)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(ours["$defs"])
        app.openapi_schema = document
    return app.openapi_schema
