"""Texts of a request made harmless for vLLM's places of media.

vLLM finds the place of a picture by a token (``<image>``, ``<|image_pad|>``), and cannot tell a text's own
``<image>`` from the template's. Such a text would move the picture, or end as an error that nobody understands. In
the request's texts the words are therefore broken up by one space: ``< image>``. Names and values of tools' schemas
cannot be, since the model is to answer with these very letters; there they are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from serving.errors import InvalidRequest

__all__ = ["PlaceholderBreaker", "placeholders_of"]

_KINDS = ("image", "video", "audio")
_DESCRIPTIONS = frozenset(
    {"description", "title", "$comment"}
)  # of tools and their schemas: read, never answered
_NUMBERED = 16  # some families number their pictures: <|image_1|>
_ID_NAMES = tuple(f"{kind}_token_{suffix}" for kind in _KINDS for suffix in ("id", "index"))


class PlaceholderBreaker:
    """Breaks up ``placeholders`` in the texts of request bodies. Without any it changes nothing."""

    def __init__(self, placeholders: Iterable[str]) -> None:
        words = sorted({word for word in placeholders if len(word) > 1}, key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, words))) if words else None
        self._bytes = tuple(word.encode() for word in words)
        self._reach = max(map(len, words), default=1) - 1

    def may_be_in(self, body: bytes) -> bool:
        """Whether an encoded body may hold one; escapes of JSON can hide them."""
        return any(word in body for word in self._bytes) or (bool(self._bytes) and b"\\u" in body)

    def broken(self, value: Any) -> Any:
        """``value``, made of what JSON is made of, with every placeholder in its texts broken up."""
        if self._words is None:
            return value
        if isinstance(value, str):
            return self._words.sub(_break, value)
        if isinstance(value, list):
            return [self.broken(item) for item in value]
        if isinstance(value, dict):
            return {key: self.broken(item) for key, item in value.items()}
        return value

    def broken_message(self, message: Any) -> Any:
        """A chat's message with every placeholder in it broken up. Also those that a template makes: of a tool's
        arguments, which vLLM decodes first, and of texts that it writes one after the other.
        """
        if self._words is None or not isinstance(message, dict):
            return message
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            message = {**message, "tool_calls": list(map(_without_escapes, calls))}
        message = self.broken(message)
        if isinstance(message.get("content"), list):
            message["content"] = self._apart(message["content"])
        return message

    def broken_tools(self, tools: Any) -> Any:
        """Tools with placeholders in their descriptions broken up. Raises ``InvalidRequest`` for others."""
        described = self._described(tools)
        word = self._found(described)
        if word is not None:
            raise InvalidRequest(
                f"The tools hold the text '{word}', which stands for a medium to this model. Descriptions may hold "
                "it, names and values may not.",
                "tools",
            )
        return described

    def _described(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._described(item) for item in value]
        if isinstance(value, dict):
            return {
                key: self.broken(item)
                if key in _DESCRIPTIONS and isinstance(item, str)
                else self._described(item)
                for key, item in value.items()
            }
        return value

    def _found(self, value: Any) -> str | None:
        """The first placeholder in names and texts of ``value``."""
        if self._words is None:
            return None
        if isinstance(value, str):
            found = self._words.search(value)
            return found.group() if found else None
        if isinstance(value, dict):
            value = [*value.keys(), *value.values()]
        if isinstance(value, list):
            return next((word for item in value if (word := self._found(item))), None)
        return None

    def _apart(self, parts: list[Any]) -> list[Any]:
        """Parts of a message with a space where two texts side by side would make a placeholder."""
        apart: list[Any] = []
        before = ""
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else None
            if not isinstance(text, str):
                before = ""
            else:
                if self._words is not None and self._words.search(before + text):
                    text = f" {text}"
                    part = {**part, "text": text}
                before = (before + text)[-self._reach :]
            apart.append(part)
        return apart


def placeholders_of(model_config: Any, tokenizer: Any) -> frozenset[str]:
    """All words that vLLM or the model takes for the place of a medium, of vLLM's ``ModelConfig``."""
    from vllm.renderers.chat_utils import MODALITY_PLACEHOLDERS_MAP, PROMPT_EMBEDS_PLACEHOLDER_TOKEN

    words: set[str] = set()
    if model_config.enable_prompt_embeds:
        words |= {PROMPT_EMBEDS_PLACEHOLDER_TOKEN, MODALITY_PLACEHOLDERS_MAP["prompt_embeds"]}
    if not model_config.is_multimodal_model:
        return frozenset(words)
    words |= set(MODALITY_PLACEHOLDERS_MAP.values())
    for kind in _KINDS:
        words |= {
            word for number in range(1, _NUMBERED + 1) if (word := placeholder_of(model_config, kind, number))
        }
    ids = {
        value for name in _ID_NAMES if isinstance(value := getattr(model_config.hf_config, name, None), int)
    }
    words |= {word for word in tokenizer.convert_ids_to_tokens(sorted(ids)) if word}
    return frozenset(words)


def placeholder_of(model_config: Any, kind: str, number: int = 1) -> str | None:
    """What a chat template's text has in the place of a medium; ``None`` where the model wants nothing there."""
    from vllm.model_executor.model_loader import get_model_cls

    try:
        word: str | None = get_model_cls(model_config).get_placeholder_str(kind, number)
    except ValueError:  # how a model's class says that it does not take this kind
        return None
    return word


def _break(found: re.Match[str]) -> str:
    word = found.group()
    return f"{word[0]} {word[1:]}"


def _without_escapes(call: Any) -> Any:
    """A tool's call with its arguments' JSON written without escapes like ``\\u003c``."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    if not isinstance(arguments, str) or "\\u" not in arguments:
        return call
    try:
        plain = json.dumps(json.loads(arguments), ensure_ascii=False)
        plain.encode()  # half a surrogate pair can be escaped, but not written
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": plain}}
