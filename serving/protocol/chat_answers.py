"""Wire schema of what a chat answers: for the OpenAPI document, from which clients are made.

Answers themselves are written by ``serving.chat_answer`` and ``serving.chat_chunks``, without these models; a test
holds both against each other.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

__all__ = ["ChatCompletion", "ChatCompletionChunk", "CompletionUsage"]

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class CalledFunction(BaseModel):
    """``arguments`` are JSON."""

    name: str
    arguments: str


class MessageToolCall(BaseModel):
    """A function that the model wants called."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(BaseModel):
    """What the model says. ``reasoning`` (ours) is there for models that reason."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[dict[str, Any]] = []
    tool_calls: list[MessageToolCall] | None = None
    function_call: CalledFunction | None = None
    reasoning: str | None = None


class TopLogprob(BaseModel):
    """A token that might have stood there."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token, and those that might have stood in its place."""

    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    """Of an answer's tokens."""

    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None


class AnswerChoice(BaseModel):
    """One of ``n`` answers."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason


class PromptTokensDetails(BaseModel):
    """``video_tokens`` is ours."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0
    text_tokens: int = 0
    image_tokens: int = 0
    audio_tokens: int = 0
    video_tokens: int | None = None


class CompletionTokensDetails(BaseModel):
    """Nothing is predicted and no sound is made here."""

    reasoning_tokens: int = 0
    text_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class MediaUsage(BaseModel):
    """Ours: how long the media were, and how much of the work on them was known."""

    seconds: float
    cache_hits: int
    cache_misses: int


class CompletionUsage(BaseModel):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails
    media: MediaUsage | None = None


class MediaFacts(BaseModel):
    """Ours: what was seen and heard of each medium, see docs/api.md."""

    media: list[dict[str, Any]]


class ChatCompletion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[AnswerChoice]
    usage: CompletionUsage
    service_tier: Literal["default"] = "default"
    system_fingerprint: str | None = None
    metadata: dict[str, str] | None = None
    manymodal: MediaFacts | None = None


class DeltaFunction(BaseModel):
    """The name comes first, then pieces of the arguments."""

    name: str | None = None
    arguments: str | None = None


class DeltaToolCall(BaseModel):
    """A piece of a call; ``index`` says of which."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: DeltaFunction | None = None


class Delta(BaseModel):
    """What an event adds to a message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[DeltaToolCall] | None = None
    function_call: DeltaFunction | None = None
    reasoning: str | None = None


class ChunkChoice(BaseModel):
    """A piece of one of ``n`` answers."""

    index: int
    delta: Delta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None


class ChatCompletionChunk(BaseModel):
    """One event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None
    obfuscation: str | None = None
    service_tier: Literal["default"] | None = None
    system_fingerprint: str | None = None
    manymodal: MediaFacts | None = None
