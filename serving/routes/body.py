"""Reading request bodies: JSON objects and multipart forms, each with its errors in OpenAI's shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect, Request

from serving.errors import ClientGone, InvalidRequest, UnsupportedContentType
from serving.openapi import REFERENCE
from serving.protocol.parse import decode_json, validated

__all__ = ["json_schema", "open_form", "read_json", "read_model"]

Model = TypeVar("Model", bound=BaseModel)

_LARGE_BYTES = 1 << 20


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Only ``application/json`` is read: a web page of another origin cannot send
    that.
    """
    content_type = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if content_type != "application/json":
        raise UnsupportedContentType(
            "This endpoint reads JSON: send the header 'Content-Type: application/json'."
        )
    try:
        body = await request.body()
    except ClientDisconnect as error:
        raise ClientGone("The client closed the connection while sending the request.") from error
    if len(body) < _LARGE_BYTES:
        return decode_json(body)
    return await asyncio.to_thread(decode_json, body)


async def read_model(request: Request, model: type[Model]) -> Model:
    """The JSON body as a wire model."""
    return validated(model, await read_json(request))


@asynccontextmanager
async def open_form(request: Request, max_fields: int = 32) -> AsyncIterator[FormData]:
    """A multipart form with at most one file; its temporary file is gone after the block."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidRequest("This endpoint reads a multipart form with a 'file'.", None, "invalid_form")
    try:
        form = request.form(max_files=1, max_fields=max_fields)
        async with form as fields:
            yield fields
    except ClientDisconnect as error:
        raise ClientGone("The client closed the connection while sending the request.") from error


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """``openapi_extra`` for routes that read their body themselves."""
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
