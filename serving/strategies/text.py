"""The ``text`` strategy: what the encoders say of the media is written into the prompt of any text decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from encoders.types import Quality
from fusion.text import TextFusion, assemble
from fusion.types import FusedBlock
from serving.perceiver import Perceived, Perceiver
from serving.strategies.strategy import Block, Content, FusedMedia, Wanted

__all__ = ["TextStrategy"]

# One look, or several views of a picture; "auto" is what the platform is set to.
_QUALITIES: Final = {"low": Quality.FAST, "high": Quality.BEST}


class TextStrategy:
    """Satisfies ``Strategy``."""

    def __init__(self, perceiver: Perceiver, fusion: TextFusion, *, read_pictures: bool = True) -> None:
        self._perceiver = perceiver
        self._read_pictures = read_pictures
        self._fusion = fusion

    async def perceive(self, wanted: Wanted) -> Perceived:
        """Labels and text of a picture, labelled frames of a video, and what is said."""
        options = replace(wanted.options, quality=_QUALITIES.get(wanted.detail))
        perceived = await self._perceiver.perceive(
            wanted.media, wanted.info, options, ocr=self._read_pictures
        )
        return replace(perceived, detail=wanted.detail)

    def fuse(self, perceived: Sequence[Perceived], budget_tokens: int, question: str) -> FusedMedia:
        """See ``Strategy.fuse``."""
        return FusedMedia(self._fusion.fuse([item.medium for item in perceived], budget_tokens, question))

    def content(self, parts: Sequence[str | Block]) -> Content:
        """One text."""
        return assemble([part for part in parts if isinstance(part, str | FusedBlock)])
