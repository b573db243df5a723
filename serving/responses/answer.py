"""The response object: what is known when it begins, and what a chat completion makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.protocol.responses import ResponseRequest
from serving.responses.ids import new_item_id
from serving.responses.store import Item

__all__ = ["begun", "ended", "log_probabilities", "output_of", "text_part", "usage_of"]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def begun(response_id: str, created_at: int, model: str, request: ResponseRequest) -> dict[str, Any]:
    """A response under way. Settings that were not given are shown as what holds then, or as ``None`` where the
    model's own settings do.
    """
    text, reasoning = request.text, request.reasoning
    form = None if text is None or text.format is None else text.format.model_dump(exclude_none=True)
    choice = request.tool_choice
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "model": model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "prompt_cache_retention": request.prompt_cache_retention,
        "reasoning": {
            "effort": None,
            "summary": None,
            **({} if reasoning is None else reasoning.model_dump(exclude_none=True)),
        },
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": request.store is not False,
        "temperature": request.temperature,
        "text": {
            "format": form or {"type": "text"},
            "verbosity": (None if text is None else text.verbosity) or "medium",
        },
        "tool_choice": "auto"
        if choice is None
        else choice
        if isinstance(choice, str)
        else choice.model_dump(),
        "tools": [tool.model_dump() for tool in request.tools or ()],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": request.truncation or "disabled",
        "usage": None,
        **({} if request.user is None else {"user": request.user}),
        "metadata": request.metadata or {},
    }


def ended(
    response: Mapping[str, Any],
    output: list[Item],
    reason: str | None,
    usage: Mapping[str, Any] | None,
    manymodal: Mapping[str, Any] | None,
    now_seconds: int,
) -> dict[str, Any]:
    """The response with its answer, which the engine ended for ``reason``. ``usage`` is the chat's."""
    cut = _INCOMPLETE.get(reason or "")
    return {
        **response,
        "status": "completed" if cut is None else "incomplete",
        "completed_at": now_seconds if cut is None else None,
        "incomplete_details": None if cut is None else {"reason": cut},
        "output": output,
        "usage": None if usage is None else usage_of(usage),
        **({} if manymodal is None else {"manymodal": manymodal}),
    }


def output_of(response_id: str, inputs: int, choice: Mapping[str, Any]) -> list[Item]:
    """The items of a chat's whole answer; ``inputs`` items came with the request."""
    message = choice["message"]
    status = "incomplete" if choice.get("finish_reason") in _INCOMPLETE else "completed"
    parts: list[Item] = []
    if message.get("content"):
        parts.append(text_part(message["content"], log_probabilities(choice.get("logprobs"))))
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    calls = message.get("tool_calls") or ()
    items: list[Item] = []
    if parts or not calls:
        items.append(
            {
                "id": new_item_id(response_id, "message", inputs),
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": parts or [text_part("", [])],
            }
        )
    for call in calls:
        items.append(
            {
                "id": new_item_id(response_id, "function_call", inputs + len(items)),
                "type": "function_call",
                "status": status,
                "call_id": call["id"],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
            }
        )
    return items


def text_part(text: str, logprobs: list[Any]) -> Item:
    """A text of an answer."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def log_probabilities(logprobs: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """A chat's log-probabilities, as a response has them."""
    return [
        {**_token(entry), "top_logprobs": [_token(one) for one in entry.get("top_logprobs") or ()]}
        for entry in (logprobs or {}).get("content") or ()
    ]


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """A chat's usage, as a response has it; tokens by modality and what else a chat tells stays."""
    prompt = {k: v for k, v in (usage.get("prompt_tokens_details") or {}).items() if v is not None}
    answer = usage.get("completion_tokens_details") or {}
    media = {"media": usage["media"]} if "media" in usage else {}
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, **prompt},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": answer.get("reasoning_tokens") or 0},
        "total_tokens": usage["total_tokens"],
        **media,
    }


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "token": entry["token"],
        "logprob": entry["logprob"],
        "bytes": entry.get("bytes") or list(entry["token"].encode()),
    }
