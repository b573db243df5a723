"""The OpenAPI document: FastAPI's, with the models of routes that read their body or write their answer themselves,
every route's error answers, and links that say which route takes what another one answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.protocol.embeddings import EmbeddingLine, EmbeddingRequest
from serving.protocol.errors import ErrorBody

__all__ = ["REFERENCE", "answers", "bytes_answer", "describe", "form_body", "reference"]

REFERENCE = "#/components/schemas/{model}"
"""Where a model's schema lies in the document."""

_MODELS = (EmbeddingRequest, EmbeddingLine, ErrorBody)  # those that are named by ``REFERENCE`` alone

_METHODS = ("get", "post", "put", "patch", "delete")

# Which routes take an id that another answers: the route, its answer's field, the parameter, those that take it.
_LINKS: Final = (
    ("POST /v1/files", "id", "file_id", ("GET /v1/files/{file_id}", "GET /v1/files/{file_id}/content")),
    ("POST /v1/files", "id", "file_id", ("POST /v1/files/{file_id}/link", "DELETE /v1/files/{file_id}")),
    ("POST /v1/media", "id", "media_id", ("GET /v1/media/{media_id}", "DELETE /v1/media/{media_id}")),
    ("POST /v1/media", "id", "media_id", ("GET /v1/media/{media_id}/thumbnail",)),
    ("POST /v1/uploads", "id", "upload_id", ("POST /v1/uploads/{upload_id}/parts",)),
    ("POST /v1/uploads", "id", "upload_id", ("POST /v1/uploads/{upload_id}/cancel",)),
    ("POST /v1/collections", "name", "collection", ("GET /v1/collections/{collection}",)),
    ("POST /v1/collections", "name", "collection", ("DELETE /v1/collections/{collection}",)),
    ("POST /v1/ingest", "id", "job_id", ("GET /v1/ingest/{job_id}", "POST /v1/ingest/{job_id}/cancel")),
    ("POST /v1/responses", "id", "response_id", ("GET /v1/responses/{response_id}",)),
    ("POST /v1/responses", "id", "response_id", ("GET /v1/responses/{response_id}/input_items",)),
    ("POST /v1/responses", "id", "response_id", ("DELETE /v1/responses/{response_id}",)),
    ("POST /v1/batches", "id", "batch_id", ("GET /v1/batches/{batch_id}",)),
    ("POST /v1/batches", "id", "batch_id", ("POST /v1/batches/{batch_id}/cancel",)),
)


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of ``app``; made once, at the first call."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, ours = models_json_schema([(model, "validation") for model in _MODELS], ref_template=REFERENCE)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(ours["$defs"])
        _hoist(document["paths"], schemas)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)  # FastAPI's own, which is never answered
        for operation in _operations(document):
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _ERROR
        # Where access is open, no key is needed.
        document["components"]["securitySchemes"] = {"ApiKey": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"ApiKey": []}, {}]
        _name_operations(app, document)
        _link(document)
        app.openapi_schema = document
    return app.openapi_schema


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """A schema that refers to ``model``, which is brought along: it need not be known to this module."""
    _, known = models_json_schema([(model, "validation")], ref_template=REFERENCE)
    return {"$ref": REFERENCE.format(model=model.__name__), "$defs": known["$defs"]}


def answers(
    model: type[BaseModel], event: type[BaseModel] | None = None, *, other: Mapping[str, Any] | None = None
) -> dict[int | str, dict[str, Any]]:
    """``responses`` for routes that write their answer themselves: ``model`` as JSON, and as a stream of ``event``.

    ``other`` are further content types with their schemas.
    """
    content = {"application/json": {"schema": reference(model)}}
    if event is not None:
        content["text/event-stream"] = {"schema": reference(event)}
    for kind, schema in (other or {}).items():
        content[kind] = {"schema": schema}
    return {200: {"description": "OK", "content": content}}


def bytes_answer(kind: str = "*/*") -> dict[int | str, dict[str, Any]]:
    """``responses`` for routes that answer bytes of a content type, by default of any."""
    return {200: {"description": "OK", "content": {kind: {"schema": {"type": "string", "format": "binary"}}}}}


def form_body(file_field: str, model: type[BaseModel] | None = None) -> dict[str, Any]:
    """``openapi_extra`` for routes that take a multipart form with a file; ``model`` are its other fields."""
    schema: dict[str, Any] = {"type": "object"}
    if model is not None:
        schema = model.model_json_schema(ref_template=REFERENCE)
    schema["properties"] = {
        **schema.get("properties", {}),
        file_field: {"type": "string", "format": "binary"},
    }
    schema["required"] = [*schema.get("required", ()), file_field]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


_ERROR: Final = {
    "description": "Any error",
    "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model="ErrorBody")}}},
}


def _hoist(node: Any, schemas: dict[str, Any]) -> None:
    """Move the models that schemas brought along to where references look for them."""
    if isinstance(node, dict):
        for name, schema in node.pop("$defs", {}).items():
            schemas.setdefault(name, schema)
        for value in node.values():
            _hoist(value, schemas)
    elif isinstance(node, list):
        for value in node:
            _hoist(value, schemas)


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from (path[method] for method in _METHODS if method in path)


def _name_operations(app: FastAPI, document: Mapping[str, Any]) -> None:
    """Operations are called as their functions are: made clients then have names that can be said."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods:
                operation = document["paths"][route.path_format].get(method.lower())
                if operation is not None:
                    operation["operationId"] = route.name


def _link(document: Mapping[str, Any]) -> None:
    for source, field, parameter, targets in _LINKS:
        method, path = source.lower().split(" ", 1)
        operation = document["paths"].get(path, {}).get(method)
        if operation is None:
            continue
        success = next(status for status in operation["responses"] if status.startswith("2"))
        for target in targets:
            verb, where = target.split(" ", 1)
            found = document["paths"].get(where, {}).get(verb.lower())
            if found is not None:
                links = operation["responses"][success].setdefault("links", {})
                links[found["operationId"]] = {
                    "operationId": found["operationId"],
                    "parameters": {parameter: f"$response.body#/{field}"},
                }
