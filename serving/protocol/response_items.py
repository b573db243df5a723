"""Wire schema of what goes into a response: OpenAI's input items and their content, those that this server has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictStr, Tag

__all__ = [
    "AnswerItem",
    "FunctionCallInput",
    "FunctionOutputInput",
    "InputAudioContent",
    "InputFileContent",
    "InputImageContent",
    "InputItem",
    "InputTextContent",
    "InstructionItem",
    "ItemReference",
    "MediaContent",
    "ReasoningInput",
    "UserItem",
]

_Id = Annotated[StrictStr, Field(min_length=1, max_length=128)]
_CallId = Annotated[StrictStr, Field(min_length=1, max_length=64)]
_Objects = Annotated[list[dict[str, Any]], Field(fail_fast=True)]
_Status = Literal["in_progress", "completed", "incomplete"]
_ITEM_TYPES = "message, function_call, function_call_output, reasoning, item_reference"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class InputBreakpoint(_Strict):
    """Where OpenAI's cache of prompts may cut. Prefixes of prompts are always cached here."""

    mode: Literal["explicit"] = "explicit"


class _Input(_Strict):
    prompt_cache_breakpoint: InputBreakpoint | None = None


class InputTextContent(_Input):
    """A piece of text."""

    type: Literal["input_text"]
    text: StrictStr


class InputImageContent(_Input):
    """A picture: exactly one of ``image_url`` (a ``data:`` URL, an http(s) URL or a media id) and ``file_id``."""

    type: Literal["input_image"]
    image_url: Annotated[StrictStr, Field(min_length=1)] | None = None
    file_id: _Id | None = None
    detail: Literal["auto", "low", "high", "original"] | None = "auto"


class InputFileContent(_Input):
    """A medium of any kind: exactly one of ``file_id``, ``file_data`` (a ``data:`` URL) and ``file_url``."""

    type: Literal["input_file"]
    file_id: _Id | None = None
    file_data: StrictStr | None = None
    file_url: Annotated[StrictStr, Field(min_length=1)] | None = None
    filename: Annotated[StrictStr, Field(max_length=255)] | None = None
    detail: Literal["auto", "low", "high"] | None = None


class InputAudioBytes(_Strict):
    """Base64 bytes of a sound file. ``format`` is what the client believes; the bytes decide."""

    data: Annotated[StrictStr, Field(min_length=1)]
    format: Annotated[StrictStr, Field(min_length=1, max_length=32)]


class InputAudioContent(_Input):
    """Sound, inline."""

    type: Literal["input_audio"]
    input_audio: InputAudioBytes


class EarlierText(_Strict):
    """A text of an earlier answer, as it was given out; its annotations and log-probabilities are not looked at."""

    type: Literal["output_text"]
    text: StrictStr
    annotations: _Objects | None = None
    logprobs: _Objects | None = None


class EarlierRefusal(_Strict):
    """An earlier refusal."""

    type: Literal["refusal"]
    refusal: StrictStr


MediaContent = InputImageContent | InputFileContent | InputAudioContent
"""The parts that bring a medium."""

_UserPart = Annotated[
    InputTextContent | InputImageContent | InputFileContent | InputAudioContent,
    Field(discriminator="type"),
]
_AnswerPart = Annotated[EarlierText | EarlierRefusal, Field(discriminator="type")]


class _Message(_Strict):
    type: Literal["message"] = "message"
    id: _Id | None = None
    status: _Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class UserItem(_Message):
    """What the user says and shows. The only role that may bring media."""

    role: Literal["user"]
    content: StrictStr | Annotated[list[_UserPart], Field(min_length=1, fail_fast=True)]


class InstructionItem(_Message):
    """What the application tells the model."""

    role: Literal["system", "developer"]
    content: StrictStr | Annotated[list[InputTextContent], Field(min_length=1, fail_fast=True)]


class AnswerItem(_Message):
    """An earlier answer."""

    role: Literal["assistant"]
    content: StrictStr | Annotated[list[_AnswerPart], Field(fail_fast=True)]


_MessageItem = Annotated[UserItem | InstructionItem | AnswerItem, Field(discriminator="role")]


class FunctionCallInput(_Strict):
    """A function that the model wanted to have called. ``arguments`` are JSON."""

    type: Literal["function_call"]
    id: _Id | None = None
    call_id: _CallId
    name: Annotated[StrictStr, Field(min_length=1, max_length=128)]
    arguments: StrictStr
    status: _Status | None = None


class FunctionOutputInput(_Strict):
    """What a function gave, for the call of the same ``call_id``."""

    type: Literal["function_call_output"]
    id: _Id | None = None
    call_id: _CallId
    output: StrictStr | Annotated[list[InputTextContent], Field(min_length=1, fail_fast=True)]
    name: Annotated[StrictStr, Field(min_length=1, max_length=128)] | None = None
    status: _Status | None = None


class ReasoningInput(BaseModel):
    """What a model thought, of an earlier answer. Taken, so that answers can be sent back as they came; the models
    here are not shown it.
    """

    model_config = ConfigDict(extra="ignore")
    type: Literal["reasoning"]
    id: StrictStr | None = None
    summary: _Objects | None = None
    content: _Objects | None = None
    encrypted_content: StrictStr | None = None
    status: _Status | None = None


class ItemReference(_Strict):
    """An item of a stored response, in or out, by its id."""

    type: Literal["item_reference"] | None = None
    id: _Id


def _kind(given: Any) -> str | None:
    """OpenAI lets ``type`` be left out of messages and of references."""
    if not isinstance(given, Mapping):
        return getattr(given, "type", None)
    named = given.get("type")
    if named is None:
        return "message" if "role" in given else "item_reference" if "id" in given else None
    return named if isinstance(named, str) else None


InputItem = Annotated[
    Annotated[_MessageItem, Tag("message")]
    | Annotated[FunctionCallInput, Tag("function_call")]
    | Annotated[FunctionOutputInput, Tag("function_call_output")]
    | Annotated[ReasoningInput, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(
        _kind,
        custom_error_type="unsupported_item",
        custom_error_message=f"the item's 'type' must be one of {_ITEM_TYPES}",
    ),
]
"""One item of the input."""
