"""A conversation's items as chat messages, and the way back from places in these to places in the request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.errors import InvalidRequest
from serving.responses.store import Item

__all__ = ["ChatMessages", "begins_turn", "chat_messages", "last_turns", "media_ids", "texts_of"]

_PLACE = re.compile(r"messages\[(\d+)\](?:\.content\[(\d+)\])?")


@dataclass(frozen=True, slots=True)
class ChatMessages:
    """Messages for the chat pipeline, and for each the request field that it came from."""

    messages: list[dict[str, Any]]
    params: list[str]

    def param(self, chat_param: str) -> str:
        """A place in the messages as the request's own field."""
        found = _PLACE.match(chat_param)
        if found is None or int(found[1]) >= len(self.params):
            return "input"
        field = self.params[int(found[1])]
        return (
            f"{field}.content[{found[2]}]" if found[2] is not None and field.startswith("input[") else field
        )


def chat_messages(
    instructions: str | None, earlier: Sequence[Item], items: Sequence[Item], params: Sequence[str]
) -> ChatMessages:
    """Messages of a conversation so far and of the request's ``items``, which stand at ``params`` in it.

    Raises ``InvalidRequest`` when calls of functions and their outputs do not go together.
    """
    made = ChatMessages([], [])
    if instructions:
        _add(made, "instructions", {"role": "system", "content": instructions})
    calls: dict[str, str] = {}
    answered: set[str] = set()
    sources = [*(["previous_response_id"] * len(earlier)), *params]
    for item, param in zip([*earlier, *items], sources, strict=True):
        match item["type"]:
            case "message":
                _add(made, param, _chat_message(item))
            case "function_call":
                calls[item["call_id"]] = param
                _add_call(made, param, item)
            case _:
                call_id = item["call_id"]
                if call_id not in calls:
                    raise InvalidRequest(
                        "No tool call found for this function call output: its 'call_id' names no call before it.",
                        f"{param}.call_id" if param.startswith("input[") else param,
                    )
                answered.add(call_id)
                _add(made, param, {"role": "tool", "tool_call_id": call_id, "content": _output_text(item)})
    for call_id in calls.keys() - answered:
        raise InvalidRequest(
            "No tool output found for a function call: send a 'function_call_output' for each call.",
            "input" if calls[call_id] == "previous_response_id" else calls[call_id],
        )
    return made


def last_turns(items: Sequence[Item], dropped: int) -> list[Item]:
    """Items without the first ``dropped`` turns, which begin with what the user says; instructions stay."""
    turn, kept = 0, list[Item]()
    for item in items:
        turn += begins_turn(item)
        if turn > dropped or (item["type"] == "message" and item["role"] in ("system", "developer")):
            kept.append(item)
    return kept


def begins_turn(item: Item) -> bool:
    """Whether this is something the user says."""
    return bool(item["type"] == "message" and item["role"] == "user")


def texts_of(items: Sequence[Item]) -> Iterator[str]:
    """Every text that items bring into the prompt."""
    for item in items:
        if item["type"] == "message":
            yield from (part.get("text") or part.get("refusal") or "" for part in item["content"])
        elif item["type"] == "function_call":
            yield item["arguments"]
        else:
            yield _output_text(item)


def media_ids(items: Sequence[Item]) -> list[str]:
    """The media that items name, in order."""
    return [
        part["file_id"]
        for item in items
        if item["type"] == "message"
        for part in item["content"]
        if "file_id" in part
    ]


def _add(made: ChatMessages, param: str, message: dict[str, Any]) -> None:
    made.messages.append(message)
    made.params.append(param)


def _add_call(made: ChatMessages, param: str, item: Mapping[str, Any]) -> None:
    """A call belongs to the answer just before it, where there is one."""
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    if made.messages and made.messages[-1]["role"] == "assistant":
        made.messages[-1].setdefault("tool_calls", []).append(call)
    else:
        _add(made, param, {"role": "assistant", "content": None, "tool_calls": [call]})


def _chat_message(item: Mapping[str, Any]) -> dict[str, Any]:
    role, content = item["role"], item["content"]
    if role == "assistant":
        return {"role": role, "content": [_answer_part(part) for part in content] or ""}
    if role in ("system", "developer") or len(content) == 1 == len(_texts(content)):
        return {"role": role, "content": "\n\n".join(_texts(content))}
    return {"role": role, "content": [_part(part) for part in content]}


def _output_text(item: Mapping[str, Any]) -> str:
    output = item["output"]
    return output if isinstance(output, str) else "".join(part["text"] for part in output)


def _texts(content: Sequence[Mapping[str, Any]]) -> list[str]:
    return [part["text"] for part in content if part["type"] == "input_text"]


def _answer_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "refusal":
        return {"type": "refusal", "refusal": part["refusal"]}
    return {"type": "text", "text": part["text"]}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    match part["type"]:
        case "input_text":
            return {"type": "text", "text": part["text"]}
        case "input_image":
            detail = "high" if part["detail"] == "original" else part["detail"]
            return {"type": "image_url", "image_url": {"url": part["file_id"], "detail": detail}}
        case _:
            return {"type": "file", "file": {"file_id": part["file_id"]}}
