"""``POST /v1/embeddings``."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from encoders.text.encoder import check_dimensions, shortened
from encoders.types import ModelSpec
from search.types import Vector
from serving.auth import CurrentTenant
from serving.concurrency import all_of
from serving.config import RequestLimits
from serving.disconnect import unless_gone
from serving.embedding_stream import EmbeddingStream
from serving.errors import InvalidRequest, LimitExceeded
from serving.gateway import Gateway, gateway_of
from serving.media_parts import admit_part
from serving.media_report import media_used
from serving.media_vectors import media_vector
from serving.openapi import REFERENCE
from serving.perceiver import Perceived
from serving.protocol.chat import MediaPart, Part, TextPart
from serving.protocol.embeddings import EmbeddingLine, EmbeddingList, EmbeddingRequest
from serving.routes.body import json_schema, read_model

__all__ = ["router"]

router = APIRouter()

_NDJSON = "application/x-ndjson"


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
    request.state.modality = "text"
    return EmbeddingStream(request, gateway, tenant, dimensions=dimensions, as_base64=as_base64)


async def _listed(request: Request, tenant: str) -> Response:
    gateway = gateway_of(request)
    wanted = await read_model(request, EmbeddingRequest)
    model = gateway.catalogue.text
    gateway.catalogue.check(model, wanted.model)
    items = _items(wanted.input, gateway.config.limits)
    _check_dimensions(wanted.dimensions, gateway.config.text_model)
    made = await unless_gone(request, _embed(gateway, tenant, items))
    kinds = {medium.medium.info.kind.value for medium in made.media}
    kinds |= {"text"} if len(made.media) < len(items) else set()
    request.state.modality = kinds.pop() if len(kinds) == 1 else "mixed"
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
    extension = (media_used(made.media) if made.media else {}) | (
        {"pieces": made.pieces} if made.pieces else {}
    )
    if extension:
        body["manymodal"] = extension
    return Response(msgspec.json.encode(body), media_type="application/json")


@dataclass(frozen=True, slots=True)
class _Embedded:
    """The items' vectors (float32, ``(n, dimensions)``) in order, the tokens of the texts, what was perceived of
    the media, and of texts too long for the encoder in how many pieces they were read, by the item's index.
    """

    vectors: Vector
    token_count: int
    media: list[Perceived]
    pieces: dict[int, int]


async def _embed(gateway: Gateway, tenant: str, items: Sequence[str | MediaPart]) -> _Embedded:

    async def of_medium(part: MediaPart, param: str) -> tuple[Vector, Perceived]:
        return await gateway.admission.use(
            lambda anew: admit_part(gateway.admission, tenant, part, param, anew=anew),
            lambda admitted: media_vector(gateway.perceiver, tenant, admitted, param),
        )

    texts = tuple(item for item in items if isinstance(item, str))
    parts = [(index, item) for index, item in enumerate(items) if not isinstance(item, str)]
    looked_at = await all_of(of_medium(part, f"input[{index}]") for index, part in parts)
    embedded = await gateway.perceiver.embed_texts(tenant, texts) if texts else None
    of_texts = iter(embedded.vectors if embedded is not None else ())
    pieces = zip(
        (index for index, item in enumerate(items) if isinstance(item, str)),
        embedded.chunk_counts if embedded is not None else (),
        strict=True,
    )
    of_media = iter(vector for vector, _ in looked_at)
    vectors = np.stack([next(of_texts if isinstance(item, str) else of_media) for item in items])
    return _Embedded(
        vectors,
        embedded.token_count if embedded is not None else 0,
        [medium for _, medium in looked_at],
        {index: count for index, count in pieces if count > 1},
    )


def _check_dimensions(wanted: int | None, spec: ModelSpec) -> None:
    try:
        check_dimensions(wanted, spec.dimensions or 0, spec.extra.get("smallest_dimensions"))
    except ValueError as error:
        raise InvalidRequest(f"{error} Leave 'dimensions' out, or change it.", "dimensions") from None


def _items(
    given: str | Sequence[str | Part] | Sequence[int] | Sequence[list[int]], limits: RequestLimits
) -> list[str | MediaPart]:
    listed = [given] if isinstance(given, str) else list(given)
    if not listed:
        raise InvalidRequest("'input' cannot be an empty list.", "input")
    if len(listed) > limits.max_embedding_inputs:
        raise LimitExceeded(
            f"'input' holds {len(listed)} texts; at most {limits.max_embedding_inputs} are taken "
            "(max_embedding_inputs).",
            "input",
        )
    items: list[str | MediaPart] = []
    for item in listed:
        if isinstance(item, int | list):
            raise InvalidRequest(
                "Token arrays are not supported: send the texts themselves, their tokenizer is this model's "
                "own.",
                "input",
            )
        items.append(item.text if isinstance(item, TextPart) else item)
    texts = [item for item in items if isinstance(item, str)]
    if len(items) - len(texts) > limits.max_media_per_request:
        raise LimitExceeded(
            f"'input' brings {len(items) - len(texts)} media; at most {limits.max_media_per_request} "
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
