"""A request's attachments put into its body, in the forms that vLLM's application takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from encoders.types import MediaKind
from serving.engines.media_connector import lent, take_back
from serving.engines.native_media import NativeMedia
from serving.engines.placeholders import PlaceholderBreaker
from serving.engines.soft_prompts import SoftPrompts
from serving.errors import AttachmentRefused, InvalidRequest
from serving.services import Attachment, NativeMedium, PromptEmbeddings

__all__ = ["AttachmentWriter", "WrittenBody"]

Result = TypeVar("Result")

_LARGE_BYTES = 128 << 10  # less is checked and written in less time than a thread takes to be asked
_PART_TYPES = {MediaKind.IMAGE: "image_url", MediaKind.VIDEO: "video_url", MediaKind.AUDIO: "audio_url"}
_NAMES = {MediaKind.IMAGE: "pictures", MediaKind.VIDEO: "videos", MediaKind.AUDIO: "recordings"}


@dataclass(frozen=True, slots=True)
class WrittenBody:
    """A body for vLLM, and the tickets under which what it speaks of is lent."""

    body: bytes
    tickets: tuple[str, ...] = ()

    def was_read(self) -> None:
        """vLLM answers: it has looked at the media, whose pixels are let go."""
        take_back(self.tickets)


class AttachmentWriter:
    """Makes bodies for one engine. ``native_limits`` is how many of each kind one prompt may hold."""

    def __init__(
        self,
        soft: SoftPrompts,
        native: NativeMedia,
        native_limits: Mapping[MediaKind, int],
        placeholders: PlaceholderBreaker,
    ) -> None:
        self._soft = soft
        self._native = native
        self._native_limits = native_limits
        self._placeholders = placeholders

    @asynccontextmanager
    async def written(self, body: bytes, attachments: tuple[Attachment, ...]) -> AsyncIterator[WrittenBody]:
        """The body for vLLM. Decoded media are lent to vLLM until the block ends, or ``was_read`` is told.

        Every content part ``{"type": "attachment", "index": i}`` becomes ``attachments[i]``, and all are used
        exactly once. Media's placeholders in texts are broken up. Raises ``AttachmentRefused``, ``BridgeMismatch``,
        ``InvalidRequest`` for more media than the model takes, and what perception raises; vLLM has seen nothing
        then. A body without attachments and placeholders is passed on as it is.
        """
        if not attachments and not self._placeholders.may_be_in(body):
            yield WrittenBody(body)
            return
        soft = tuple(item for item in attachments if isinstance(item, PromptEmbeddings))
        native = tuple(item for item in attachments if isinstance(item, NativeMedium))
        self._check_kinds(native)
        # Bytes that are no array's are refused by the check.
        large = len(body) + sum(getattr(item.vectors, "nbytes", 0) for item in soft) >= _LARGE_BYTES
        loans = iter(await _run(large, self._soft_loans, soft))
        decoded = iter(await self._native.decoded(native))
        given = [next(decoded if isinstance(item, NativeMedium) else loans) for item in attachments]
        with lent(given) as tickets:
            parts = [
                _native_part(item, ticket)
                if isinstance(item, NativeMedium)
                else self._soft.part(loan, ticket)
                for item, loan, ticket in zip(attachments, given, tickets, strict=True)
            ]
            del decoded, loans, given  # what was read must not be held to the end of the answer
            yield WrittenBody(await _run(large, self._write, body, parts), tickets)

    def _soft_loans(self, soft: tuple[PromptEmbeddings, ...]) -> list[Any]:
        self._soft.check(soft)
        return list(map(self._soft.loan, soft))

    def _check_kinds(self, media: tuple[NativeMedium, ...]) -> None:
        for kind, name in _NAMES.items():
            brought, most = sum(medium.kind is kind for medium in media), self._native_limits.get(kind, 0)
            if brought and not most:
                raise AttachmentRefused(f"The model does not take {name} itself; tell the operator.")
            if brought > most:
                raise InvalidRequest(
                    f"The model takes at most {most} {name} in one request, but {brought} were sent.",
                    "messages",
                    "limit_exceeded",
                )

    def _write(self, body: bytes, attachments: Sequence[dict[str, Any]]) -> bytes:
        asked = _decoded(body)
        used: list[int] = []

        def part_of(part: Any) -> Any:
            if not isinstance(part, dict) or part.get("type") != "attachment":
                return part
            index = part.get("index")
            if not isinstance(index, int) or not 0 <= index < len(attachments):
                raise AttachmentRefused(
                    "A message refers to an attachment that is not there; tell the operator."
                )
            used.append(index)
            return attachments[index]

        try:
            asked["messages"] = list(map(self._placeholders.broken_message, asked.get("messages") or ()))
            if "tools" in asked:
                asked["tools"] = self._placeholders.broken_tools(asked["tools"])
        except RecursionError:
            raise InvalidRequest("The request is nested too deeply.") from None
        for message in asked["messages"]:
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, list):
                message["content"] = [part_of(part) for part in content]
        if sorted(used) != list(range(len(attachments))):
            raise AttachmentRefused("The attachments do not fit the messages; tell the operator.")
        return msgspec.json.encode(asked)


async def _run(in_thread: bool, work: Callable[..., Result], *arguments: Any) -> Result:
    return await asyncio.to_thread(work, *arguments) if in_thread else work(*arguments)


def _native_part(medium: NativeMedium, url: str) -> dict[str, Any]:
    name = _PART_TYPES[medium.kind]
    # vLLM's processor cache, encoder cache and prefix cache all know the medium by the uuid alone.
    return {"type": name, name: {"url": url}, "uuid": medium.content_id}


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise InvalidRequest("The request for the model is no JSON object.")
    return asked
