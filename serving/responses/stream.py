"""A response as server-sent events: OpenAI's events instead of a chat's, and the response stored before its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from serving.chat_stream import ChatStream, checked
from serving.engine_call import EngineAnswer
from serving.error_handlers import error_parts
from serving.responses.chat_form import our_param
from serving.responses.events import ResponseEvents
from serving.responses.pipeline import PreparedResponse, Responses
from storage.errors import StorageError

__all__ = ["ResponseStream"]

_log = logging.getLogger("manymodal.gateway")


class ResponseStream(ChatStream):
    """Streams a response whose answer has begun, as ``ChatStream`` does a chat's.

    ``response.completed`` is sent when the response is stored. What a client that left has not seen is not kept.
    """

    def __init__(
        self,
        answer: EngineAnswer,
        responses: Responses,
        prepared: PreparedResponse,
        *,
        obfuscated: bool,
        stall_timeout_seconds: float,
        on_error: Callable[[Exception], None],
    ) -> None:
        rewrite = responses.chat.rewriter(prepared.chat)
        super().__init__(
            answer,
            rewrite,
            stall_timeout_seconds=stall_timeout_seconds,
            on_error=on_error,
            meter=prepared.chat.meter,
        )
        self._responses = responses
        self._prepared = prepared
        self._events = ResponseEvents(
            prepared.response, prepared.inputs, checked(rewrite), obfuscated=obfuscated
        )
        self._rewriter = self._events

    async def _closing(self) -> bytes:
        events = self._events
        response = await self._responses.finish(
            self._prepared, events.output, events.reason, events.usage, events.manymodal
        )
        return events.closing(response)

    async def _failing(self, error: Exception) -> bytes:
        answer, message, param, code = error_parts(error)
        if param is not None:
            param = our_param(param, self._prepared.messages)
        shown = "rate_limit_exceeded" if answer.status == 429 else "server_error"
        response: Mapping[str, Any] = {
            **self._prepared.response,
            "status": "failed",
            "error": {"code": shown, "message": message},
            "output": [item for item in self._events.output if item["status"] != "in_progress"],
        }
        try:
            await self._responses.keep(self._prepared, response)
        except StorageError as failure:  # the client is told of the first error
            _log.error("A failed response could not be stored", exc_info=failure)
        return self._events.failing(message, code, param, response)
