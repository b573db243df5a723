"""``POST /v1/chat/completions``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.auth import CurrentTenant
from serving.disconnect import unless_gone
from serving.gateway import gateway_of
from serving.openapi import answers
from serving.protocol.chat import ChatRequest
from serving.protocol.chat_answers import ChatCompletion, ChatCompletionChunk
from serving.routes.answers import streamed_chat
from serving.routes.body import json_schema, model_of, read_json

__all__ = ["router"]

router = APIRouter()


@router.post(
    "/v1/chat/completions",
    openapi_extra=json_schema(ChatRequest),
    responses=answers(ChatCompletion, ChatCompletionChunk),
)
async def create_chat_completion(request: Request, tenant: CurrentTenant) -> Response:
    """OpenAI's chat completion over any mix of text, images, audio and video."""
    gateway = gateway_of(request)
    raw = await read_json(request)
    body = await model_of(request, ChatRequest, raw)
    prepared = await unless_gone(request, gateway.chat.prepare(tenant, raw, body))
    if not body.stream:
        answer = await unless_gone(request, gateway.chat.complete(prepared, request.state.request_id))
        return Response(answer, media_type="application/json")
    return await streamed_chat(request, gateway, prepared)
