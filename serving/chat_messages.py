"""A chat's messages: their texts, the media in them, and the messages with the media replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from serving.protocol.chat import (
    AssistantMessage,
    ChatRequest,
    ImagePart,
    MediaPart,
    Message,
    RefusalPart,
    TextPart,
    UserMessage,
)
from serving.strategies.strategy import Block, Content

__all__ = ["MediaUse", "brought", "media_uses", "question_of", "texts_in", "texts_of", "with_blocks"]


@dataclass(frozen=True, slots=True)
class MediaUse:
    """A media part and where it stands."""

    message: int
    part: int
    medium: MediaPart

    @property
    def param(self) -> str:
        """Its place in the request, as errors name it."""
        return f"messages[{self.message}].content[{self.part}]"

    @property
    def detail(self) -> str:
        """How closely the client wants it to be looked at."""
        return self.medium.image_url.detail if isinstance(self.medium, ImagePart) else "auto"


_BROUGHT = {"image_url": "image", "input_audio": "audio", "audio_url": "audio", "video_url": "video"}


def brought(uses: Iterable[MediaUse]) -> str:
    """The kind of media that a request says it brings: ``text`` without any, ``mixed`` if several or not said."""
    kinds = {_BROUGHT.get(use.medium.type, "mixed") for use in uses}
    return "text" if not kinds else kinds.pop() if len(kinds) == 1 else "mixed"


def texts_of(request: ChatRequest) -> Iterator[str]:
    """Every text of every message: what was said, refused, and written as a function's arguments."""
    for message in request.messages:
        yield from texts_in(message)


def texts_in(message: Message) -> Iterator[str]:
    """The same of one message."""
    if isinstance(message.content, str):
        yield message.content
    for part in message.content if isinstance(message.content, list) else ():
        if isinstance(part, TextPart):
            yield part.text
        elif isinstance(part, RefusalPart):
            yield part.refusal
    if isinstance(message, AssistantMessage):
        if message.refusal is not None:
            yield message.refusal
        yield from (call.function.arguments for call in message.tool_calls or ())
        if message.function_call is not None:
            yield message.function_call.arguments


def question_of(request: ChatRequest) -> str:
    """What the last message with a text of the user's says."""
    for message in reversed(request.messages):
        if isinstance(message, UserMessage):
            content = message.content
            texts = (
                [content]
                if isinstance(content, str)
                else [p.text for p in content if isinstance(p, TextPart)]
            )
            if any(texts):
                return " ".join(texts)
    return ""


def media_uses(request: ChatRequest) -> Iterator[MediaUse]:
    """Every media part, in order."""
    for index, message in enumerate(request.messages):
        if isinstance(message, UserMessage) and isinstance(message.content, list):
            for place, part in enumerate(message.content):
                if isinstance(part, MediaPart):
                    yield MediaUse(index, place, part)


def with_blocks(
    messages: list[dict[str, Any]],
    request: ChatRequest,
    uses: Sequence[MediaUse],
    blocks: Sequence[Block],
    content: Callable[[Sequence[str | Block]], Content],
) -> list[dict[str, Any]]:
    """The messages with every media part replaced by its block; messages without media stay as they came.

    ``content`` makes of texts and blocks what the engine takes.
    """
    placed = {(use.message, use.part): block for use, block in zip(uses, blocks, strict=True)}
    written = list(messages)
    for index in {use.message for use in uses}:
        parts: list[str | Block] = []
        for place, part in enumerate(request.messages[index].content or ()):
            if isinstance(part, TextPart):
                parts.append(part.text)
            elif (block := placed.get((index, place))) is not None:
                parts.append(block)
        written[index] = {**messages[index], "content": content(parts)}
    return written
