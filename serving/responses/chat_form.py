"""A request for a response as a request for a chat completion, and the chat's errors in this request's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serving.errors import ApiError
from serving.protocol.responses import (
    ResponseAllowedTools,
    ResponseJsonFormat,
    ResponseRequest,
    ResponseToolChoice,
)
from serving.responses.messages import ChatMessages

__all__ = ["LOGPROBS", "chat_form", "in_our_words", "our_param"]

LOGPROBS = "message.output_text.logprobs"

_SAME = (
    "model",
    "stream",
    "temperature",
    "top_p",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)
_RENAMED = {
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}
_WORDS = {
    "'messages'": "'input'",
    "'response_format'": "'text.format'",
    "'max_completion_tokens'": "'max_output_tokens'",
}


def chat_form(request: ResponseRequest, messages: ChatMessages) -> dict[str, Any]:
    """The body of a chat request that asks for the same."""
    body: dict[str, Any] = {name: getattr(request, name) for name in _SAME}
    body["messages"] = messages.messages
    body["max_completion_tokens"] = request.max_output_tokens
    if request.stream:
        body["stream_options"] = {"include_usage": True}
    if LOGPROBS in (request.include or ()):
        body["logprobs"] = True
        body["top_logprobs"] = request.top_logprobs or 0
    if request.reasoning is not None:
        body["reasoning_effort"] = request.reasoning.effort
    if request.text is not None:
        body["response_format"] = _response_format(request.text.format)
        body["verbosity"] = request.text.verbosity
    body |= _tools(request)
    return {name: value for name, value in body.items() if value is not None}


@contextmanager
def in_our_words(messages: ChatMessages) -> Iterator[None]:
    """Let the chat pipeline's errors name the fields of this request."""
    try:
        yield
    except ApiError as error:
        if error.param is not None:
            error.param = our_param(error.param, messages)
        for theirs, ours in _WORDS.items():
            error.message = error.message.replace(theirs, ours)
        raise


def our_param(param: str, messages: ChatMessages) -> str:
    """A field of the chat request as the field of this request that it was made of."""
    if param.startswith("messages"):
        return messages.param(param)
    head, dot, rest = param.partition(".")
    if head.startswith("tools["):
        return f"{head}{dot}{rest.removeprefix('function.')}"
    if head == "tool_choice":
        return head
    return f"{_RENAMED[head]}{dot}{rest.removeprefix('json_schema.')}" if head in _RENAMED else param


def _response_format(wanted: Any) -> dict[str, Any] | None:
    if isinstance(wanted, ResponseJsonFormat):
        fields = wanted.model_dump(exclude_none=True, exclude={"type"})
        return {"type": "json_schema", "json_schema": fields}
    return None if wanted is None or wanted.type == "text" else {"type": wanted.type}


def _tools(request: ResponseRequest) -> dict[str, Any]:
    choice = request.tool_choice
    mode: str | dict[str, Any] | None
    if isinstance(choice, ResponseAllowedTools):
        allowed = {"mode": choice.mode, "tools": [_named(tool.name) for tool in choice.tools]}
        mode = {"type": "allowed_tools", "allowed_tools": allowed}
    elif isinstance(choice, ResponseToolChoice):
        mode = _named(choice.name)
    else:
        mode = choice
    if not request.tools:  # without any OpenAI lets these two be set here, and does not in a chat
        return {} if mode in (None, "none", "auto") else {"tool_choice": mode}
    tools = [
        {"type": "function", "function": tool.model_dump(exclude_none=True, exclude={"type"})}
        for tool in request.tools
    ]
    return {"tools": tools, "tool_choice": mode, "parallel_tool_calls": request.parallel_tool_calls}


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}
