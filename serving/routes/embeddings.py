"""``POST /v1/embeddings``."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence

import msgspec
import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from encoders.types import Embeddings
from serving.auth import CurrentTenant
from serving.config import RequestLimits
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest, LimitExceeded, PerceptionTimeout
from serving.gateway import Gateway, gateway_of
from serving.protocol.embeddings import EmbeddingList, EmbeddingRequest
from serving.routes.body import json_schema, read_model

__all__ = ["router"]

router = APIRouter()


@router.post(
    "/v1/embeddings",
    response_model=None,
    responses={200: {"model": EmbeddingList}},
    openapi_extra=json_schema(EmbeddingRequest),
)
async def create_embeddings(request: Request, tenant: CurrentTenant) -> Response:
    """OpenAI's embeddings of one text or a list of texts."""
    gateway = gateway_of(request)
    request.state.modality = "text"
    wanted = await read_model(request, EmbeddingRequest)
    model = gateway.catalogue.text
    gateway.catalogue.check(model, wanted.model)
    texts = _texts(wanted.input, gateway.config.limits)
    dimensions = model.spec.dimensions if model.spec is not None else None
    if wanted.dimensions is not None and wanted.dimensions != dimensions:
        raise InvalidRequest(
            f"'{model.name}' gives {dimensions} dimensions, no other number; leave 'dimensions' out.",
            "dimensions",
        )
    embeddings = await unless_gone(request, _embed(gateway, texts))
    vectors = np.ascontiguousarray(embeddings.vectors, dtype="<f4")
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.tobytes()).decode()
            if wanted.encoding_format == "base64"
            else vector.tolist(),
        }
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": embeddings.token_count, "total_tokens": embeddings.token_count}
    gateway.metrics.count_usage(embeddings.token_count, None)
    body = {"object": "list", "data": data, "model": model.name, "usage": usage}
    return Response(msgspec.json.encode(body), media_type="application/json")


async def _embed(gateway: Gateway, texts: tuple[str, ...]) -> Embeddings:
    limit = gateway.config.limits.perception_timeout_seconds
    try:
        async with asyncio.timeout(limit):
            with gateway.metrics.time_stage("embed_texts"):
                return await gateway.services.perception.embed_texts(texts)
    except TimeoutError as error:
        raise PerceptionTimeout(
            f"The texts could not be embedded within {limit:g} seconds; try again."
        ) from error


def _texts(
    given: str | Sequence[str] | Sequence[int] | Sequence[list[int]], limits: RequestLimits
) -> tuple[str, ...]:
    items = [given] if isinstance(given, str) else list(given)
    if not items:
        raise InvalidRequest("'input' cannot be an empty list.", "input")
    if len(items) > limits.max_embedding_inputs:
        raise LimitExceeded(
            f"'input' holds {len(items)} texts; at most {limits.max_embedding_inputs} are taken "
            "(max_embedding_inputs).",
            "input",
        )
    texts = tuple(item for item in items if isinstance(item, str))
    if len(texts) != len(items):
        raise InvalidRequest(
            "Token arrays are not supported: send the texts themselves, their tokenizer is this model's own.",
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
    return texts
