"""Answers of the chat pipeline as HTTP responses."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.chat import PreparedChat
from serving.chat_chunks import chunk_writer
from serving.chat_stream import ChatStream
from serving.disconnect import unless_gone
from serving.error_handlers import error_parts
from serving.gateway import Gateway

__all__ = ["streamed_chat"]


async def streamed_chat(request: Request, gateway: Gateway, prepared: PreparedChat) -> Response:
    """The stream of a chat's answer, once it has begun."""
    begun = await unless_gone(request, gateway.chat.begin(prepared, request.state.request_id, stream=True))

    def count(error: Exception) -> None:
        gateway.metrics.count_error(error_parts(error)[3])

    return ChatStream(
        begun,
        gateway.chat.rewriter(prepared),
        every=prepared.form.legacy,
        write=chunk_writer(
            usage=prepared.usage_wanted, obfuscate=prepared.obfuscate, logprobs=prepared.logprobs
        ),
        stall_timeout_seconds=gateway.config.limits.stall_timeout_seconds,
        on_error=count,
        meter=prepared.meter,
    )
