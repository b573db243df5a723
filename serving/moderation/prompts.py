"""All that a chat request writes into the prompt, as texts to be judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from serving.chat_messages import texts_in
from serving.protocol.chat import AssistantMessage, ChatRequest, Message

__all__ = ["prompt_texts"]


def prompt_texts(request: ChatRequest) -> Mapping[str, list[str]]:
    """By request field: each message's parts as one text, since the model reads them as one; and what is said of
    functions and of the answer's form, names of fields included, which stands in the prompt as well.
    """
    forms = {
        "tools": request.tools,
        "functions": request.functions,
        "response_format": request.response_format,
    }
    texts = {name: ["\n".join(_words(form))] for name, form in forms.items() if form is not None}
    return {"messages": [text for one in request.messages if (text := _message(one))], **texts}


def _message(message: Message) -> str:
    names = [] if message.name is None else [message.name]
    if isinstance(message, AssistantMessage):
        names += [call.function.name for call in message.tool_calls or ()]
        if message.function_call is not None:
            names.append(message.function_call.name)
    return "\n".join([*names, *texts_in(message)])


def _words(given: Any) -> Iterator[str]:
    """All strings in JSON values, keys included."""
    waiting = [given]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, BaseModel):
            waiting.extend(value for _, value in reversed(list(one)))
        elif isinstance(one, Mapping):
            waiting.extend(part for pair in reversed(list(one.items())) for part in reversed(pair))
        elif isinstance(one, list):
            waiting.extend(reversed(one))
