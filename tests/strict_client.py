"""OpenAI's clients that hold answers against the types of ours, and a server that refuses at first."""

from __future__ import annotations

import json
from typing import Any

import openai
from starlette.types import Receive, Scope, Send

__all__ = ["Refusing", "StrictAsyncOpenAI", "StrictOpenAI"]


class Refusing:
    """Refuses the next ``times`` requests with a 503, and writes down every request."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.times = 0
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(f"{scope['method']} {scope['path']}")
        if self.times == 0:
            await self._app(scope, receive, send)
            return
        self.times -= 1
        body = json.dumps(
            {"error": {"message": "Too busy.", "type": "server_error", "code": "busy"}}
        ).encode()
        headers = [(b"content-type", b"application/json"), (b"retry-after-ms", b"1")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Strict:
    """Mixed into an openai client: answers are held against our types, and what these do not name is noted."""

    unnamed: list[str]

    def _process_response_data(self, *, data: object, cast_to: Any, response: Any) -> Any:
        # A method of the class that it is mixed into.
        found = super()._process_response_data(data=data, cast_to=cast_to, response=response)  # type: ignore[misc]
        if type(found).__module__.startswith("serving.client"):
            self.unnamed += unnamed_fields(found)
        return found


class StrictOpenAI(Strict, openai.OpenAI):
    pass


class StrictAsyncOpenAI(Strict, openai.AsyncOpenAI):
    pass


def unnamed_fields(value: Any) -> list[str]:
    if isinstance(value, openai.BaseModel):
        extra = [f"{type(value).__name__}.{name}" for name in value.model_extra or {}]
        return extra + [
            one for name in type(value).model_fields for one in unnamed_fields(getattr(value, name))
        ]
    if isinstance(value, list):
        return [one for item in value for one in unnamed_fields(item)]
    return []
