"""Wire schema of ``POST /v1/responses``: OpenAI's request, as an allow-list in front of the chat pipeline.

Fields of what this server does not have (conversations, prompt templates, background work, tools of OpenAI's own)
are refused by name, with the reason, in ``serving.responses.not_offered``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from serving.protocol.metadata import Metadata
from serving.protocol.response_items import InputItem

__all__ = [
    "ResponseAllowedTools",
    "ResponseJsonFormat",
    "ResponseRequest",
    "ResponseTextSettings",
    "ResponseTool",
    "ResponseToolChoice",
]

_Number = StrictFloat | StrictInt
_Name = Annotated[StrictStr, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResponseTool(_Strict):
    """A function of the client's that the model may ask for. ``parameters`` is a JSON schema."""

    type: Literal["function"]
    name: _Name
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class ResponseToolChoice(_Strict):
    """The one function that must be called."""

    type: Literal["function"]
    name: _Name


class ResponseAllowedTool(_Strict):
    """One of the request's functions, by name."""

    type: Literal["function"]
    name: _Name


class ResponseAllowedTools(_Strict):
    """Some of the request's tools, of which the model may (``auto``) or must (``required``) call one."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[ResponseAllowedTool], Field(min_length=1, max_length=128)]


class ResponsePlainFormat(_Strict):
    """Text of any form, or any JSON object."""

    type: Literal["text", "json_object"]


class ResponseJsonFormat(BaseModel):
    """JSON that follows a schema."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)
    type: Literal["json_schema"]
    name: _Name
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]
    description: StrictStr | None = None
    strict: StrictBool | None = None


class ResponseTextSettings(_Strict):
    """The answer's form."""

    format: Annotated[ResponsePlainFormat | ResponseJsonFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseReasoning(_Strict):
    """For models that think before they answer. Only ``effort`` reaches the model."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: Annotated[StrictStr, Field(max_length=64)] | None = None


class ResponseCacheOptions(_Strict):
    """Known to OpenAI's cache of prompts, of no meaning here."""

    ttl: Literal["30m"] | None = None
    mode: Literal["implicit", "explicit"] | None = None


class ResponseStreamOptions(_Strict):
    """``include_obfuscation`` fills deltas up with random characters, so that their lengths tell nothing."""

    include_obfuscation: StrictBool | None = None


Included = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class ResponseRequest(_Strict):
    """OpenAI's request fields."""

    model: StrictStr
    input: StrictStr | Annotated[list[InputItem], Field(max_length=2048, fail_fast=True)] | None = None
    instructions: StrictStr | None = None
    previous_response_id: Annotated[StrictStr, Field(max_length=128)] | None = None
    store: StrictBool | None = None
    stream: StrictBool | None = None
    stream_options: ResponseStreamOptions | None = None
    include: Annotated[list[Included], Field(fail_fast=True)] | None = None
    max_output_tokens: Annotated[StrictInt, Field(ge=16)] | None = None
    max_tool_calls: Annotated[StrictInt, Field(ge=1)] | None = None
    temperature: Annotated[_Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[_Number, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    text: ResponseTextSettings | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=128, fail_fast=True)] | None = None
    tool_choice: (
        Literal["none", "auto", "required"]
        | Annotated[ResponseToolChoice | ResponseAllowedTools, Field(discriminator="type")]
        | None
    ) = None
    parallel_tool_calls: StrictBool | None = None
    reasoning: ResponseReasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Metadata | None = None
    user: Annotated[StrictStr, Field(max_length=512)] | None = None
    safety_identifier: Annotated[StrictStr, Field(max_length=64)] | None = None
    prompt_cache_key: Annotated[StrictStr, Field(max_length=512)] | None = None
    prompt_cache_options: ResponseCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    background: StrictBool | None = None
