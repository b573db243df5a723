"""Wire schema of responses as they are answered: the response, its items, and the answers about stored ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.protocol.responses import (
    ResponseAllowedTools,
    ResponseJsonFormat,
    ResponseReasoning,
    ResponseToolChoice,
)

__all__ = [
    "FunctionCallItem",
    "OutputItem",
    "OutputLogprob",
    "OutputMessage",
    "OutputRefusalPart",
    "OutputTextPart",
    "ResponseDeleted",
    "ResponseItemList",
    "ResponseObject",
]

Status = Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"]
_ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputTopLogprob(BaseModel):
    """A token that might have stood there."""

    token: str
    logprob: float
    bytes: list[int]


class OutputLogprob(OutputTopLogprob):
    """A token of the answer, and those that might have stood in its place."""

    top_logprobs: list[OutputTopLogprob]


class OutputTextPart(BaseModel):
    """A text of the answer. There are no annotations: no tool here makes any."""

    type: Literal["output_text"]
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[OutputLogprob]


class OutputRefusalPart(BaseModel):
    """The model's refusal to answer."""

    type: Literal["refusal"]
    refusal: str


class OutputMessage(BaseModel):
    """What the model says."""

    id: str
    type: Literal["message"]
    status: _ItemStatus
    role: Literal["assistant"]
    content: list[Annotated[OutputTextPart | OutputRefusalPart, Field(discriminator="type")]]


class FunctionCallItem(BaseModel):
    """A function that the model wants to have called."""

    id: str
    type: Literal["function_call"]
    status: _ItemStatus
    call_id: str
    name: str
    arguments: str


OutputItem = Annotated[OutputMessage | FunctionCallItem, Field(discriminator="type")]


class KeptText(BaseModel):
    """A text."""

    type: Literal["input_text"]
    text: str


class KeptImage(BaseModel):
    """A picture, by the id under which it is kept, however it came."""

    type: Literal["input_image"]
    file_id: str
    detail: Literal["auto", "low", "high", "original"]


class KeptFile(BaseModel):
    """A medium of any kind, sound that came inline too, by the id under which it is kept."""

    type: Literal["input_file"]
    file_id: str
    filename: str | None = None


class KeptMessage(BaseModel):
    """What the user says and shows, or the application tells."""

    id: str
    type: Literal["message"]
    status: _ItemStatus
    role: Literal["user", "system", "developer"]
    content: list[Annotated[KeptText | KeptImage | KeptFile, Field(discriminator="type")]]


class KeptFunctionOutput(BaseModel):
    """What a function gave."""

    id: str
    type: Literal["function_call_output"]
    status: _ItemStatus
    call_id: str
    output: str | list[KeptText]
    name: str | None = None


class ResponseItemList(BaseModel):
    """One page of what the model was given; ``last_id`` is the next page's ``after``."""

    object: Literal["list"] = "list"
    data: list[KeptMessage | OutputMessage | FunctionCallItem | KeptFunctionOutput]
    first_id: str
    last_id: str
    has_more: bool


class ResponseDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ResponseFailure(BaseModel):
    """Why a response failed."""

    code: Literal["server_error", "rate_limit_exceeded"]
    message: str


class ResponseIncompleteDetails(BaseModel):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseInputTokens(BaseModel):
    """Tokens of the prompt: those that the engine still had, and those of each kind of medium."""

    model_config = ConfigDict(extra="allow")
    cached_tokens: int
    cache_write_tokens: int


class ResponseOutputTokens(BaseModel):
    """Tokens of the answer."""

    reasoning_tokens: int


class ResponseUsage(BaseModel):
    """What the answer took. ``media`` is ours: seconds, and what lay in the caches."""

    input_tokens: int
    input_tokens_details: ResponseInputTokens
    output_tokens: int
    output_tokens_details: ResponseOutputTokens
    total_tokens: int
    media: dict[str, Any] | None = None


class ResponseTextFormat(BaseModel):
    """Text of any form, or any JSON object."""

    type: Literal["text", "json_object"]


class ResponseTextForm(BaseModel):
    """The answer's form."""

    format: Annotated[ResponseTextFormat | ResponseJsonFormat, Field(discriminator="type")]
    verbosity: Literal["low", "medium", "high"]


class ResponseToolObject(BaseModel):
    """A function that the model could call."""

    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class ResponseObject(BaseModel):
    """A response. ``temperature`` and ``top_p`` are null where the model's own settings held; ``manymodal`` tells
    what the media gave.
    """

    id: str
    object: Literal["response"]
    created_at: int
    status: Status
    background: bool
    completed_at: int | None
    error: ResponseFailure | None
    incomplete_details: ResponseIncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    prompt_cache_retention: Literal["in_memory", "24h"] | None
    reasoning: ResponseReasoning
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float | None
    text: ResponseTextForm
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice | ResponseAllowedTools
    tools: list[ResponseToolObject]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    user: str | None = None
    metadata: dict[str, str]
    manymodal: dict[str, Any] | None = None
