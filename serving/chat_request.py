"""A chat request as the engine takes it: OpenAI's newer and older forms brought to the one that vLLM knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from serving.protocol.chat import FORWARDED_FIELDS, AssistantMessage, ChatRequest, FunctionMessage
from serving.protocol.tools import AllowedToolsChoice, FunctionName

__all__ = ["engine_fields", "engine_messages"]

# vLLM refuses several answers without chance. At this temperature, its smallest, they hardly differ.
_SMALLEST_TEMPERATURE = 0.01
_NO_PARAMETERS: Final = {"type": "object", "properties": {}, "additionalProperties": False}


def engine_fields(raw: Mapping[str, Any], request: ChatRequest) -> dict[str, Any]:
    """The body for the engine without the gateway's own fields. ``raw`` is what ``request`` was validated from.

    Only fields of ``FORWARDED_FIELDS`` are in it. ``functions`` have become tools, ``allowed_tools`` the tools that
    are left, an empty schema "some JSON object".
    """
    body = {name: raw[name] for name in raw if name in FORWARDED_FIELDS and raw[name] is not None}
    body["messages"] = engine_messages(raw["messages"], request)
    if request.functions is not None:
        body["tools"] = [{"type": "function", "function": function} for function in raw["functions"]]
        body["tool_choice"] = _tool_choice(request.function_call)
        body["parallel_tool_calls"] = False
    choice = request.tool_choice
    if isinstance(choice, AllowedToolsChoice):
        names = {tool.function.name for tool in choice.allowed_tools.tools}
        body["tools"] = [tool for tool in raw["tools"] if tool["function"]["name"] in names]
        body["tool_choice"] = choice.allowed_tools.mode
    elif choice == "none" and request.tools is None:
        del body["tool_choice"]
    if "tools" in body:
        body["tools"] = [
            {"type": "function", "function": _with_parameters(tool["function"])} for tool in body["tools"]
        ]
    wanted = body.get("response_format", {})
    if wanted.get("type") == "json_schema" and not wanted["json_schema"].get("schema"):
        body["response_format"] = {"type": "json_object"}
    if (request.n or 1) > 1 and request.temperature == 0:
        body["temperature"] = _SMALLEST_TEMPERATURE
    if body.get("stop") == []:
        del body["stop"]
    return body


def engine_messages(raw: list[dict[str, Any]], request: ChatRequest) -> list[dict[str, Any]]:
    """The messages, one for one: ``developer`` is ``system`` to a chat template, a function's call and result are
    those of a tool, a refusal is what the assistant said.
    """
    written = []
    for place, (given, message) in enumerate(zip(raw, request.messages, strict=True)):
        made = {name: value for name, value in given.items() if value is not None}
        if message.role == "developer":
            made["role"] = "system"
        elif isinstance(message, AssistantMessage):
            _write_assistant(made, message, place)
        elif isinstance(message, FunctionMessage):
            made = {
                "role": "tool",
                "tool_call_id": _call_id(place - 1),
                "content": message.content or "",
            }
        written.append(made)
    return written


def _write_assistant(made: dict[str, Any], message: AssistantMessage, place: int) -> None:
    refusal = made.pop("refusal", None)
    call = made.pop("function_call", None)
    if isinstance(message.content, list):
        made["content"] = [
            {"type": "text", "text": part["refusal"]} if part["type"] == "refusal" else part
            for part in made["content"]
        ]
    elif message.content is None and refusal is not None:
        made["content"] = refusal
    if call is not None:
        made["tool_calls"] = [{"id": _call_id(place), "type": "function", "function": call}]
    if "content" not in made:
        made["content"] = None


def _with_parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    """A function that says nothing of parameters has none; vLLM would let the model make up any."""
    made = {name: value for name, value in function.items() if value is not None}
    return {"parameters": _NO_PARAMETERS, **made}


def _call_id(place: int) -> str:
    return f"call_{place}"


def _tool_choice(function_call: Any) -> Any:
    if isinstance(function_call, FunctionName):
        return {"type": "function", "function": {"name": function_call.name}}
    return function_call or "auto"
