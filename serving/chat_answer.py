"""The engine's answer in OpenAI's form: vLLM's own fields taken out, those it lacks put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.media_report import MediaReport

__all__ = ["AnswerForm", "complete_usage"]

_TOP_FIELDS = ("id", "object", "created", "model", "system_fingerprint", "usage")


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What a request says about its answer's form. ``legacy`` is OpenAI's older one, with ``function_call``."""

    legacy: bool = False
    metadata: Mapping[str, str] | None = None

    def whole(self, answer: Mapping[str, Any], report: MediaReport | None) -> dict[str, Any]:
        """An answer in one piece."""
        made = {name: answer[name] for name in _TOP_FIELDS if answer.get(name) is not None}
        made["choices"] = [self._choice(choice) for choice in answer.get("choices") or ()]
        made["service_tier"] = "default"
        if self.metadata is not None:
            made["metadata"] = dict(self.metadata)
        if isinstance(answer.get("usage"), Mapping):
            made["usage"] = complete_usage(answer["usage"], report)
        if report is not None:
            made["manymodal"] = report.manymodal
        return made

    def event(self, event: dict[str, Any]) -> dict[str, Any]:
        """One event of a stream, changed in place."""
        for choice in event.get("choices") or ():
            for name in ("stop_reason", "token_ids"):
                choice.pop(name, None)
            if self.legacy:
                delta = choice.get("delta") or {}
                _to_function_call(delta)
                delta.pop("tool_calls", None)
                choice["finish_reason"] = _legacy_reason(choice.get("finish_reason"))
        return event

    def _choice(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        given = choice.get("message") or {}
        message = {
            "role": given.get("role", "assistant"),
            "content": given.get("content"),
            "refusal": given.get("refusal"),
            "annotations": [],
        }
        for name in ("tool_calls", "reasoning"):  # the latter is vLLM's; only models that reason have it
            if given.get(name):
                message[name] = given[name]
        reason = choice.get("finish_reason")
        if message.get("tool_calls"):
            message["content"] = message["content"] or None
            if self.legacy:
                reason = _legacy_reason(reason)
                _to_function_call(message)
                del message["tool_calls"]
        logprobs = choice.get("logprobs")
        return {
            "index": choice.get("index", 0),
            "message": message,
            "logprobs": None if logprobs is None else {"content": logprobs.get("content"), "refusal": None},
            "finish_reason": reason,
        }


def complete_usage(usage: Mapping[str, Any], report: MediaReport | None) -> dict[str, Any]:
    """The engine's ``usage`` with all details that OpenAI's has, and those of the media that were used."""
    prompt = usage.get("prompt_tokens") or 0
    completion = usage.get("completion_tokens") or 0
    kept = usage.get("prompt_tokens_details") or {}
    thought = usage.get("completion_tokens_details") or {}
    base = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": usage.get("total_tokens", prompt + completion),
        "prompt_tokens_details": {
            "cached_tokens": kept.get("cached_tokens") or 0,
            "cache_write_tokens": kept.get("created_cache_tokens") or 0,
            "audio_tokens": 0,
            "image_tokens": 0,
            "text_tokens": prompt,
        },
        "completion_tokens_details": {
            "reasoning_tokens": thought.get("reasoning_tokens") or 0,
            "text_tokens": completion - (thought.get("reasoning_tokens") or 0),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return base if report is None else report.extend_usage(base)


def _to_function_call(message: dict[str, Any]) -> None:
    """The first call of a tool as a call of a function; more than one is never asked for."""
    for call in (message.get("tool_calls") or ())[:1]:
        message["function_call"] = {
            name: value for name, value in call["function"].items() if value is not None
        }


def _legacy_reason(reason: str | None) -> str | None:
    return "function_call" if reason == "tool_calls" else reason
