"""What a strategy is asked for, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from encoders.types import MediaInfo
from fusion.types import FusedBlock
from serving.perceive_options import PerceiveOptions
from serving.perceiver import Perceived
from serving.services import Attachment
from storage.types import MediaRef

__all__ = ["Block", "Content", "FusedMedia", "PlacedBlock", "Strategy", "Wanted"]

Content: TypeAlias = str | list[dict[str, Any]]
"""A message's content as the engine takes it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One medium of a request: what its header says, how closely it is to be looked at (``low``, ``auto`` or
    ``high``; OpenAI's ``image_url.detail``), and how it is to be perceived.
    """

    media: MediaRef
    info: MediaInfo
    detail: str
    options: PerceiveOptions


@dataclass(frozen=True, slots=True)
class PlacedBlock:
    """What one medium became in the prompt: texts, and numbers of attachments, in order.

    ``tokens`` is how many that is, ``pieces`` are the views, frames or stretches of sound that stand in it, and
    ``cut`` says what was left out.
    """

    parts: tuple[str | int, ...]
    tokens: int
    pieces: tuple[int, ...]
    cut: tuple[str, ...] = ()


Block: TypeAlias = FusedBlock | PlacedBlock


@dataclass(frozen=True, slots=True)
class FusedMedia:
    """A block for every medium, in order, and what the blocks' numbers stand for."""

    blocks: tuple[Block, ...]
    attachments: tuple[Attachment, ...] = ()


class Strategy(Protocol):
    """Media to a part of the prompt. One object serves all requests."""

    async def perceive(self, wanted: Wanted) -> Perceived:
        """What this strategy needs to know of a medium, from the caches or the encoders.

        Raises the typed errors of ``encoders.errors``, ``fusion.errors`` and ``serving.errors``.
        """
        ...

    def fuse(self, perceived: Sequence[Perceived], budget_tokens: int, question: str) -> FusedMedia:
        """All media of a request, in order, within so many tokens; what ``question`` asks about is left out last.

        Takes a while. Raises ``PromptTooLong``.
        """
        ...

    def content(self, parts: Sequence[str | Block]) -> Content:
        """A message's texts and media as the engine takes them."""
        ...
