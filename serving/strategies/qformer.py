"""The ``qformer`` strategy: pictures, frames and sound are soft tokens; what is written or said in them is text."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, cast

from encoders.types import MediaKind
from fusion.config import Levels
from fusion.errors import ModalityNotBridged
from fusion.prompt import Look, PromptComposer, Slot
from fusion.types import SoftTokens
from serving.perceiver import Perceived, Perceiver, perceived_of
from serving.services import PromptEmbeddings
from serving.soft_media import SoftMedia
from serving.strategies.picture_places import frames_shown
from serving.strategies.placing import content_parts, placed, renumbered
from serving.strategies.strategy import Block, Content, FusedMedia, Wanted

__all__ = ["QFormerStrategy"]


class QFormerStrategy:
    """Satisfies ``Strategy``. ``views`` is how many views of a picture are taken, by detail.

    Where soft tokens stand in the places of pictures, one view of each is taken, and frames as there are places.
    """

    def __init__(
        self,
        perceiver: Perceiver,
        soft: SoftMedia,
        composer: PromptComposer,
        views: Levels,
        context_tokens: int,
        *,
        read_pictures: bool = True,
    ) -> None:
        self._perceiver = perceiver
        self._soft = soft
        self._composer = composer
        self._views = views
        self._read_pictures = read_pictures
        # More frames than the context holds are never asked for.
        self._most_pieces = max(1, context_tokens // soft.tokens)

    async def perceive(self, wanted: Wanted) -> Perceived:
        """Soft tokens of what the bridge takes in, the text of a picture, and what is said."""
        media, info, options = wanted.media, wanted.info, wanted.options
        if info.kind is not MediaKind.AUDIO and not self._soft.sees:
            raise ModalityNotBridged("The model's bridge takes sound, but neither pictures nor videos.")
        works: dict[str, Coroutine[Any, Any, tuple[Any, str]]] = {}
        if info.kind is MediaKind.IMAGE:
            views = min(self._views.of(wanted.detail), self._most_pieces)
            if self._soft.pictures is not None:
                views = 1
            works["soft"] = self._soft.image(media, views)
            if self._read_pictures:
                works["ocr"] = self._perceiver.read_text(media)
        if info.kind is MediaKind.VIDEO:
            sampling = options.sampling or self._perceiver.sampling
            fewer = replace(sampling, max_frames=min(sampling.max_frames, self._most_pieces))
            works["soft"] = self._soft.video(media, fewer)
        if info.kind is MediaKind.AUDIO and self._soft.hears:
            works["soft"] = self._soft.audio(media)
        if info.kind is MediaKind.AUDIO or (info.kind is MediaKind.VIDEO and info.has_audio):
            works["transcript"] = self._perceiver.transcribe(media, options.transcription)
        return replace(
            await perceived_of(media, info, works, None if options.whole else self._perceiver.degradation),
            detail=wanted.detail,
        )

    def fuse(self, perceived: Sequence[Perceived], budget_tokens: int, question: str) -> FusedMedia:
        """See ``Strategy.fuse``."""
        shown = self._shown(perceived)
        blocks = self._composer.compose(list(map(_look, perceived, shown)), budget_tokens, question)

        def attach(medium: int, slot: Slot) -> PromptEmbeddings:
            soft = cast(SoftTokens, perceived[medium].medium.soft)  # the slot is made of its pieces
            vectors = soft.vectors[[shown[medium][piece] for piece in slot.pieces]]
            return PromptEmbeddings(vectors.reshape(-1, vectors.shape[-1]), soft.decoder)

        return renumbered(placed(blocks, attach), shown)

    def content(self, parts: Sequence[str | Block]) -> Content:
        """Texts, and attachments of prompt embeddings."""
        return content_parts(parts)

    def _shown(self, perceived: Sequence[Perceived]) -> list[tuple[int, ...]]:
        """Of each medium the pieces, by number, that may stand."""
        pieces = [0 if item.medium.soft is None else len(item.medium.soft.vectors) for item in perceived]
        every = [tuple(range(count)) for count in pieces]
        if self._soft.pictures is None:
            return every
        kinds = [item.medium.info.kind for item in perceived]
        frames = frames_shown(kinds, pieces, self._soft.pictures)
        return [
            few if kind is MediaKind.VIDEO else all_
            for kind, few, all_ in zip(kinds, frames, every, strict=True)
        ]


def _look(item: Perceived, shown: tuple[int, ...]) -> Look:
    soft = item.medium.soft
    if soft is None:
        return Look(item.medium)
    pieces, tokens, _ = soft.vectors.shape
    times = tuple(soft.times_seconds[piece] for piece in shown) if soft.times_seconds else ()
    return Look(item.medium, len(shown), tokens, times, of_pieces=pieces)
