"""Parts of OpenAI's Responses API that need what this server does not have: refused by name, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from serving.errors import InvalidRequest

__all__ = ["refuse_what_is_not_offered"]

_CODE = "unsupported_parameter"
_FIELDS: Final[Mapping[str, str]] = {
    "conversation": "Conversations as objects are not offered: name the last answer in 'previous_response_id'.",
    "prompt": "Prompt templates are not kept here: send 'instructions' and 'input'.",
    "context_management": "Conversations are not compacted here: 'truncation' may be 'auto' instead.",
    "moderation": "Moderation is the operator's policy here: ask /v1/moderations about a content by itself.",
}
_MAX_NAME_CHARACTERS = 64


def refuse_what_is_not_offered(raw: Mapping[str, Any]) -> None:
    """Raise ``InvalidRequest`` for fields and tools of OpenAI's that a validated request cannot have here."""
    for name, reason in _FIELDS.items():
        if raw.get(name) is not None:
            raise InvalidRequest(reason, name, _CODE)
    if raw.get("background") is True:
        raise InvalidRequest(
            "Answers in the background are not offered: stream the answer, or send a batch to /v1/batches.",
            "background",
            _CODE,
        )
    tools = raw.get("tools")
    for place, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind != "function":
            raise InvalidRequest(
                f"Tools of the type '{kind[:_MAX_NAME_CHARACTERS]}' are not offered: the model can be given "
                "functions of your own ('type': 'function').",
                f"tools[{place}].type",
                "unsupported_tool",
            )
