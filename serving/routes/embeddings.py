"""``POST /v1/embeddings``."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from encoders.text.encoder import check_dimensions, shortened
from encoders.types import ModelSpec
from serving import origin
from serving.auth import CurrentTenant
from serving.config import RequestLimits
from serving.disconnect import unless_gone
from serving.embedding_items import Item, embed_items, parts_of
from serving.embedding_stream import EmbeddingStream
from serving.errors import InvalidRequest, LimitExceeded
from serving.gateway import gateway_of
from serving.limits.limiter import tokens_guessed
from serving.media_report import media_used
from serving.openapi import REFERENCE
from serving.protocol.chat import MediaPart, Part, TextPart
from serving.protocol.embeddings import EmbeddingLine, EmbeddingList, EmbeddingRequest
from serving.routes.body import json_schema, read_model
from serving.token_arrays import token_arrays_in

__all__ = ["router"]

router = APIRouter()

_PROMISED_BATCH = 100

Given: TypeAlias = str | Part | list[str | Part]

_NDJSON = "application/x-ndjson"
_MAX_PARTS = 16


def _body_schema() -> dict[str, Any]:
    schema = json_schema(EmbeddingRequest)
    line = {"$ref": REFERENCE.format(model=EmbeddingLine.__name__)}
    schema["requestBody"]["content"][_NDJSON] = {"schema": line}
    return schema


@router.post(
    "/v1/embeddings",
    response_model=None,
    responses={200: {"model": EmbeddingList, "content": {_NDJSON: {"schema": {"type": "object"}}}}},
    openapi_extra=_body_schema(),
)
async def create_embeddings(
    request: Request,
    tenant: CurrentTenant,
    model: Annotated[str | None, Query(max_length=256, description="For NDJSON.")] = None,
    dimensions: Annotated[int | None, Query(ge=1, description="For NDJSON.")] = None,
    encoding_format: Annotated[
        Literal["float", "base64"], Query(description="For NDJSON; JSON bodies say it themselves.")
    ] = "float",
) -> Response:
    """OpenAI's embeddings of texts, and of media among them, all in one space.

    Or, with ``Content-Type: application/x-ndjson``, of a stream of texts of any length: each line an object with
    ``input`` and, if wanted, ``id``; each line of the answer a passage of one, in order, as soon as it is ready.
    """
    if request.headers.get("content-type", "").split(";", 1)[0].strip().lower() == _NDJSON:
        return _streamed(request, tenant, model, dimensions, as_base64=encoding_format == "base64")
    return await _listed(request, tenant)


def _streamed(
    request: Request, tenant: str, model: str | None, dimensions: int | None, *, as_base64: bool
) -> Response:
    gateway = gateway_of(request)
    if model is not None:
        gateway.catalogue.check(gateway.catalogue.text, model)
    _check_dimensions(dimensions, gateway.config.text_model)
    origin.brings("text")
    return EmbeddingStream(request, gateway, tenant, dimensions=dimensions, as_base64=as_base64)


async def _listed(request: Request, tenant: str) -> Response:
    gateway = gateway_of(request)
    wanted = await read_model(request, EmbeddingRequest)
    model = gateway.catalogue.text_model(wanted.model)
    variant = None if model is gateway.catalogue.text else model
    arrays = token_arrays_in(wanted.input)
    if arrays is not None and variant is not None:
        raise InvalidRequest(f"The model '{model.name}' takes texts, not token arrays.", "input")
    if arrays is None:
        items = _items(cast("str | Sequence[Given]", wanted.input), gateway.config.limits)
    else:
        _check_count(len(arrays), gateway.config.limits)
        items = _items(await gateway.token_arrays.texts(arrays), gateway.config.limits)
    _check_dimensions(wanted.dimensions, model.spec or gateway.config.text_model)
    characters = sum(len(part) for item in items for part in parts_of(item) if isinstance(part, str))
    reserved = await gateway.limiter.reserve_tokens(tenant, tokens_guessed(characters))
    try:
        work = embed_items(gateway.admission, gateway.perceiver, gateway.gate, tenant, items, variant)
        with gateway.metrics.time_stage(_stage(len(items))):
            made = await unless_gone(request, work)
    except BaseException:
        if reserved is not None:
            reserved.settle(0)
        raise
    if reserved is not None:
        reserved.settle(made.token_count)
    origin.brings(min(made.modalities) if len(made.modalities) == 1 else "mixed")
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
            if wanted.encoding_format == "base64"
            else vector.tolist(),
        }
        for index, vector in enumerate(shortened(made.vectors, wanted.dimensions))
    ]
    usage = {"prompt_tokens": made.token_count, "total_tokens": made.token_count}
    gateway.metrics.count_usage(made.token_count, None)
    body = {"object": "list", "data": data, "model": model.name, "usage": usage}
    extension = media_used(made.media) if made.media else {}
    extension |= {"pieces": made.pieces} if made.pieces else {}
    extension |= {"weights": made.weights} if made.weights else {}
    if extension:
        body["manymodal"] = extension
    return Response(msgspec.json.encode(body), media_type="application/json")


def _check_dimensions(wanted: int | None, spec: ModelSpec) -> None:
    try:
        check_dimensions(wanted, spec.dimensions or 0, spec.extra.get("smallest_dimensions"))
    except ValueError as error:
        raise InvalidRequest(f"{error} Leave 'dimensions' out, or change it.", "dimensions") from None


def _items(given: str | Sequence[Given], limits: RequestLimits) -> list[Item]:
    listed = [given] if isinstance(given, str) else list(given)
    if not listed:
        raise InvalidRequest("'input' cannot be an empty list.", "input")
    items: list[Item] = []
    for item in listed:
        if isinstance(item, list):
            parts = [_part(part) for part in item]
            if not 1 <= len(parts) <= _MAX_PARTS:
                raise InvalidRequest(f"An item of several parts has 1 to {_MAX_PARTS} of them.", "input")
            items.append(parts)
        else:
            items.append(_part(item))
    parts = [part for item in items for part in parts_of(item)]
    _check_count(len(parts), limits)
    texts = [part for part in parts if isinstance(part, str)]
    if len(parts) - len(texts) > limits.max_media_per_request:
        raise LimitExceeded(
            f"'input' brings {len(parts) - len(texts)} media; at most {limits.max_media_per_request} "
            "(max_media_per_request) are allowed.",
            "input",
        )
    if not all(text.strip() for text in texts):
        raise InvalidRequest("'input' cannot contain an empty string.", "input")
    characters = sum(len(text) for text in texts)
    if characters > limits.max_embedding_characters:
        raise LimitExceeded(
            f"'input' holds {characters} characters; at most {limits.max_embedding_characters} are taken "
            "(max_embedding_characters).",
            "input",
        )
    return items


def _check_count(count: int, limits: RequestLimits) -> None:
    if count > limits.max_embedding_inputs:
        raise LimitExceeded(
            f"'input' holds {count} texts; at most {limits.max_embedding_inputs} are taken "
            "(max_embedding_inputs).",
            "input",
        )


def _part(given: str | Part) -> str | MediaPart:
    return given.text if isinstance(given, TextPart) else given


def _stage(items: int) -> str:
    """One item and a batch of up to 100 have promises of their own (alerts of ``deploy/grafana/alerts.yml``)."""
    return "embed_one" if items == 1 else "embed_batch" if items <= _PROMISED_BATCH else "embed_many"
