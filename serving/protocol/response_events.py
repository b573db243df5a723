"""Wire schema of the events of a streamed response, OpenAI's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from serving.protocol.response_objects import (
    OutputItem,
    OutputRefusalPart,
    OutputTextPart,
    ResponseObject,
)

__all__ = ["ResponseEvent"]


class _Event(BaseModel):
    sequence_number: int


class ResponseStateEvent(_Event):
    """The response as it is now."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    response: ResponseObject


class ResponseItemEvent(_Event):
    """An item of the output begins, or has ended."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: OutputItem


class _InItem(_Event):
    item_id: str
    output_index: int


class ResponsePartEvent(_InItem):
    """A part of a message begins, or has ended."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: int
    part: Annotated[OutputTextPart | OutputRefusalPart, Field(discriminator="type")]


class ResponseTopToken(BaseModel):
    """A token that might have stood there."""

    token: str
    logprob: float


class ResponseToken(ResponseTopToken):
    """A token of the answer, and those that might have stood in its place."""

    top_logprobs: list[ResponseTopToken]


class ResponseTextDelta(_InItem):
    """More of a text."""

    type: Literal["response.output_text.delta"]
    content_index: int
    delta: str
    logprobs: list[ResponseToken]
    obfuscation: str | None = None


class ResponseTextDone(_InItem):
    """A whole text."""

    type: Literal["response.output_text.done"]
    content_index: int
    text: str
    logprobs: list[ResponseToken]


class ResponseArgumentsDelta(_InItem):
    """More of a function call's arguments."""

    type: Literal["response.function_call_arguments.delta"]
    delta: str
    obfuscation: str | None = None


class ResponseArgumentsDone(_InItem):
    """A function call's whole arguments."""

    type: Literal["response.function_call_arguments.done"]
    name: str
    arguments: str


class ResponseFailureEvent(_Event):
    """What went wrong; ``response.failed`` follows."""

    type: Literal["error"]
    code: str | None
    message: str
    param: str | None


class ResponseEvent(
    RootModel[
        Annotated[
            ResponseStateEvent
            | ResponseItemEvent
            | ResponsePartEvent
            | ResponseTextDelta
            | ResponseTextDone
            | ResponseArgumentsDelta
            | ResponseArgumentsDone
            | ResponseFailureEvent,
            Field(discriminator="type"),
        ]
    ]
):
    """One event; its ``type`` is the name of the server-sent event, too."""
