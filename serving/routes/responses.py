"""``/v1/responses``, OpenAI's newer form of chat: items in, items out, and conversations that the server keeps."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from serving.auth import CurrentTenant
from serving.disconnect import unless_gone
from serving.error_handlers import error_parts
from serving.errors import InvalidRequest
from serving.gateway import gateway_of
from serving.openapi import answers
from serving.protocol.response_events import ResponseEvent
from serving.protocol.response_objects import ResponseDeleted, ResponseItemList, ResponseObject
from serving.protocol.responses import Included, ResponseRequest
from serving.responses.not_offered import refuse_what_is_not_offered
from serving.responses.pipeline import PreparedResponse
from serving.responses.stream import ResponseStream
from serving.routes.body import json_schema, model_of, read_json

__all__ = ["router"]

router = APIRouter()

_Include = Annotated[list[Included] | None, Query(alias="include", max_length=16)]
# As OpenAI's clients write it.
_Brackets = Annotated[list[Included] | None, Query(alias="include[]", max_length=16)]


@router.post(
    "/v1/responses",
    openapi_extra=json_schema(ResponseRequest),
    responses=answers(ResponseObject, ResponseEvent),
)
async def create_response(request: Request, tenant: CurrentTenant) -> Response:
    """Answer to items of text, images, sound and video, alone or after an earlier response."""
    gateway = gateway_of(request)
    raw = await read_json(request)
    refuse_what_is_not_offered(raw)
    wanted = await model_of(request, ResponseRequest, raw)
    responses = gateway.responses
    prepared = await unless_gone(request, responses.prepare(tenant, wanted))
    if wanted.stream:
        options = wanted.stream_options
        obfuscated = options is None or options.include_obfuscation is not False
        return await _streamed(request, prepared, obfuscated=obfuscated)
    answer = await unless_gone(request, responses.complete(prepared, request.state.request_id))
    return Response(answer, media_type="application/json")


@router.get("/v1/responses/{response_id}", responses=answers(ResponseObject))
async def get_response(
    request: Request,
    response_id: str,
    tenant: CurrentTenant,
    include: _Include = None,
    include_brackets: _Brackets = None,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0)] = None,
    include_obfuscation: bool | None = None,
) -> Response:
    """A stored response. Its log-probabilities are there if they were asked for when it was made."""
    stored = await asyncio.to_thread(gateway_of(request).responses.store.get, tenant, response_id)
    if stream or starting_after is not None:
        raise InvalidRequest(
            "Only responses made in the background can be streamed again, and these are not offered.",
            "stream",
        )
    return _as_json(dict(stored.response))


@router.delete("/v1/responses/{response_id}")
async def delete_response(request: Request, response_id: str, tenant: CurrentTenant) -> ResponseDeleted:
    """Forget a stored response. Later ones of its conversation keep what they were given."""
    await asyncio.to_thread(gateway_of(request).responses.store.delete, tenant, response_id)
    return ResponseDeleted(id=response_id)


@router.post("/v1/responses/{response_id}/cancel", responses=answers(ResponseObject))
async def cancel_response(request: Request, response_id: str, tenant: CurrentTenant) -> Response:
    """Refused, as OpenAI does for responses that were not made in the background: these are over when they can be
    named.
    """
    await asyncio.to_thread(gateway_of(request).responses.store.get, tenant, response_id)
    raise InvalidRequest("Cannot cancel a synchronous response.", "response_id")


@router.get("/v1/responses/{response_id}/input_items", responses=answers(ResponseItemList))
async def list_input_items(
    request: Request,
    response_id: str,
    tenant: CurrentTenant,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    include: _Include = None,
    include_brackets: _Brackets = None,
) -> Response:
    """All items that the model was given for a response, those of earlier turns too."""
    stored = await asyncio.to_thread(gateway_of(request).responses.store.get, tenant, response_id)
    items = list(stored.input) if order == "asc" else list(reversed(stored.input))
    if after is not None:
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise InvalidRequest("'after' must be the id of one of the items.", "after")
        items = items[places[0] + 1 :]
    page = items[:limit]
    return _as_json(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else "",
            "last_id": page[-1]["id"] if page else "",
            "has_more": len(items) > limit,
        }
    )


async def _streamed(request: Request, prepared: PreparedResponse, *, obfuscated: bool) -> Response:
    gateway = gateway_of(request)
    begun = await unless_gone(
        request, gateway.responses.begin(prepared, request.state.request_id, stream=True)
    )

    def count(error: Exception) -> None:
        gateway.metrics.count_error(error_parts(error)[3])

    return ResponseStream(
        begun,
        gateway.responses,
        prepared,
        obfuscated=obfuscated,
        stall_timeout_seconds=gateway.config.limits.stall_timeout_seconds,
        on_error=count,
    )


def _as_json(fields: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(fields), media_type="application/json")
