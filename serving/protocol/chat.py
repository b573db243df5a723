"""Wire schema of ``POST /v1/chat/completions``: OpenAI's request, as an allow-list in front of the engine.

Only what the gateway itself needs is interpreted (messages, model, stream); the other fields are held against
OpenAI's types and ranges and then go to the engine unchanged. Every field not named here is refused, so that
no engine-only field (prompt embeddings, chat templates, cache salts, processor settings) can be reached.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from serving.protocol.metadata import Metadata
from serving.protocol.tools import (
    CalledFunction,
    FunctionDefinition,
    FunctionName,
    FunctionTool,
    ResponseFormat,
    ToolCall,
    ToolChoice,
)

__all__ = [
    "FORWARDED_FIELDS",
    "AssistantMessage",
    "AudioUrlPart",
    "ChatRequest",
    "FilePart",
    "FunctionMessage",
    "ImagePart",
    "InputAudioPart",
    "MediaPart",
    "Message",
    "RefusalPart",
    "TextPart",
    "ToolMessage",
    "UserMessage",
    "VideoUrlPart",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Strict):
    """A piece of text."""

    type: Literal["text"]
    text: StrictStr


class RefusalPart(_Strict):
    """An assistant's earlier refusal."""

    type: Literal["refusal"]
    refusal: StrictStr


class ImageUrl(_Strict):
    """``url`` is a ``data:`` URL, an http(s) URL or a media id."""

    url: Annotated[StrictStr, Field(min_length=1)]
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(_Strict):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(_Strict):
    """Base64 bytes of a sound file. ``format`` is what the client believes; the bytes decide."""

    data: Annotated[StrictStr, Field(min_length=1)]
    format: Annotated[StrictStr, Field(min_length=1, max_length=32)]


class InputAudioPart(_Strict):
    """Sound, inline."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class MediaUrl(_Strict):
    """A ``data:`` URL, an http(s) URL or a media id."""

    url: Annotated[StrictStr, Field(min_length=1)]


class AudioUrlPart(_Strict):
    """Sound, by URL or id."""

    type: Literal["audio_url"]
    audio_url: MediaUrl


class VideoUrlPart(_Strict):
    """A video, by URL or id."""

    type: Literal["video_url"]
    video_url: MediaUrl


class FileSource(_Strict):
    """Exactly one of ``file_id`` and ``file_data`` (a ``data:`` URL)."""

    file_id: StrictStr | None = None
    file_data: StrictStr | None = None
    filename: Annotated[StrictStr, Field(max_length=255)] | None = None


class FilePart(_Strict):
    """A medium of any kind, by id or inline."""

    type: Literal["file"]
    file: FileSource


MediaPart = ImagePart | InputAudioPart | AudioUrlPart | VideoUrlPart | FilePart
"""The parts that bring a medium."""

Part = Annotated[
    TextPart | ImagePart | InputAudioPart | AudioUrlPart | VideoUrlPart | FilePart,
    Field(discriminator="type"),
]


class _Message(_Strict):
    name: Annotated[StrictStr, Field(max_length=256)] | None = None


class InstructionMessage(_Message):
    """What the application tells the model."""

    role: Literal["system", "developer"]
    content: StrictStr | Annotated[list[TextPart], Field(fail_fast=True)]


class UserMessage(_Message):
    """What the user says and shows. The only role that may bring media."""

    role: Literal["user"]
    content: StrictStr | Annotated[list[Part], Field(min_length=1, fail_fast=True)]


class AssistantMessage(_Message):
    """An earlier answer."""

    role: Literal["assistant"]
    content: StrictStr | Annotated[list[TextPart | RefusalPart], Field(fail_fast=True)] | None = None
    refusal: StrictStr | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=128, fail_fast=True)] | None = None
    function_call: CalledFunction | None = None


class ToolMessage(_Message):
    """A tool's result."""

    role: Literal["tool"]
    content: StrictStr | Annotated[list[TextPart], Field(fail_fast=True)]
    tool_call_id: StrictStr


class FunctionMessage(_Message):
    """A function's result (OpenAI's older form)."""

    role: Literal["function"]
    content: StrictStr | None = None
    name: Annotated[StrictStr, Field(min_length=1, max_length=256)]


Message = Annotated[
    InstructionMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]


class StreamOptions(_Strict):
    """What a stream carries besides the answer."""

    include_usage: StrictBool | None = None
    include_obfuscation: StrictBool | None = None


class PredictedContent(_Strict):
    """What the answer will probably be."""

    type: Literal["content"]
    content: StrictStr | Annotated[list[TextPart], Field(fail_fast=True)]


class CacheOptions(_Strict):
    """How long, and where, OpenAI keeps prompts; ours are kept by the engine as long as there is room."""

    ttl: StrictStr | None = None
    mode: Literal["implicit", "explicit"] | None = None


_Number = StrictFloat | StrictInt
_Tokens = Annotated[StrictInt, Field(ge=1)]
_Penalty = Annotated[_Number, Field(ge=-2, le=2)]
_StopSequence = Annotated[StrictStr, Field(min_length=1)]
_TokenId = Annotated[StrictStr, Field(pattern=r"^[0-9]{1,9}$")]


class ChatRequest(_Strict):
    """OpenAI's request fields. ``model_fields_set`` and the raw body decide what is forwarded."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    model: StrictStr
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = None
    temperature: Annotated[_Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[_Number, Field(ge=0, le=1)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: _StopSequence | Annotated[list[_StopSequence], Field(max_length=4, fail_fast=True)] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    logit_bias: (
        Annotated[dict[_TokenId, Annotated[_Number, Field(ge=-100, le=100)]], Field(max_length=1024)] | None
    ) = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[FunctionTool], Field(min_length=1, max_length=128, fail_fast=True)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: StrictBool | None = None
    functions: (
        Annotated[list[FunctionDefinition], Field(min_length=1, max_length=128, fail_fast=True)] | None
    ) = None
    function_call: Literal["none", "auto"] | FunctionName | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, fail_fast=True)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    user: StrictStr | None = None
    metadata: Metadata | None = None
    store: StrictBool | None = None
    service_tier: Literal["auto", "default", "fast", "flex", "scale", "priority"] | None = None
    prediction: PredictedContent | None = None
    prompt_cache_key: StrictStr | None = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    safety_identifier: StrictStr | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


FORWARDED_FIELDS = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "stream",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
    }
)
"""Fields that go to the engine, as they came or as ``serving.chat_request`` brings them to the engine's form. The
others are known to OpenAI and mean nothing to the engine, or are answered by the gateway.
"""
