"""Asking the moderation models, with what was judged before remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from hashlib import sha256

from cachetools import LRUCache

from encoders.errors import ModelUnavailable
from encoders.moderation import ModerationScores
from encoders.types import MediaInfo, MediaKind
from serving.catalogue import ModelCatalogue, ServedModel
from serving.config import GatewayConfig
from serving.errors import PerceptionTimeout
from serving.patience import patience
from serving.perception_tasks import PerceptionTasks, identity_of
from serving.services import Perception
from storage.types import MediaRef

__all__ = ["NOTHING", "Scoring", "pieces_of"]

NOTHING = ModerationScores(())
"""The scores of what no model judges."""

_PIECE_CHARACTERS = 4000  # a twentieth of a second for the model, then others find their turn
_SHARED_CHARACTERS = 300  # more than the 30 words that are judged together
_REMEMBERED_TEXTS = 8192
_MAX_ASKED = 16
_LARGE_CHARACTERS = 100_000


class Scoring:
    """One per gateway. Pictures and videos are judged once: their scores lie beside their other artifacts. Scores
    of texts are remembered by this gateway: a chat brings its history again with every turn.
    """

    def __init__(
        self, perception: Perception, tasks: PerceptionTasks, catalogue: ModelCatalogue, config: GatewayConfig
    ) -> None:
        self._perception = perception
        self._tasks = tasks
        self._text_model = catalogue.moderation_text
        self._image_model = catalogue.moderation_image
        self._sampling = config.sampling
        self._timeout_seconds = config.limits.perception_timeout_seconds
        self._asking = asyncio.Semaphore(_MAX_ASKED)
        self._known: LRUCache[bytes, ModerationScores] = LRUCache(_REMEMBERED_TEXTS)

    async def texts(self, tenant: str, texts: Sequence[str]) -> list[ModerationScores]:
        """Scores of texts of any length, in order: of each category the highest of all pieces.

        Raises ``ModelUnavailable`` where no model for texts is set, ``PerceptionTimeout``, and what the encoders
        raise.
        """
        if self._text_model is None:
            raise _no_model("texts", "moderation_text")
        if sum(map(len, texts)) < _LARGE_CHARACTERS:
            keyed = _keyed(tenant, texts)
        else:
            keyed = await asyncio.to_thread(_keyed, tenant, texts)
        found = {key: self._known[key] for pieces in keyed for key, _ in pieces if key in self._known}
        new = {key: piece for pieces in keyed for key, piece in pieces if key not in found}
        if new:
            found |= zip(new, await self.unremembered(tuple(new.values())), strict=True)
            self._known.update((key, found[key]) for key in new)
        return [ModerationScores.highest(found[key] for key, _ in pieces) for pieces in keyed]

    async def unremembered(self, texts: tuple[str, ...]) -> tuple[ModerationScores, ...]:
        """Scores of short texts that nobody will ask about again. Raises as ``texts``."""
        if self._text_model is None:
            raise _no_model("texts", "moderation_text")
        try:
            async with patience(self._timeout_seconds), self._asking:
                return await self._perception.moderate_texts(texts)
        except TimeoutError as error:
            raise PerceptionTimeout(
                f"The texts could not be judged within {self._timeout_seconds:g} seconds. Please try again."
            ) from error

    async def medium(self, media: MediaRef, info: MediaInfo) -> ModerationScores:
        """Scores of a picture, or of the frames of a video or an animated picture; of sound there are none.

        Raises ``ModelUnavailable`` where no model for pictures is set, ``PerceptionTimeout``, and what the encoders
        raise.
        """
        if info.kind is MediaKind.AUDIO:
            return NOTHING
        model = self._image_model
        if model is None:
            raise _no_model("pictures", "moderation_image")
        if info.kind is MediaKind.IMAGE and not info.animated:
            return await self._judged(media, model)
        sampling = self._sampling
        scores, _ = await self._tasks.run(
            "moderation",
            media,
            identity_of(model),
            {"sampling": asdict(sampling)},
            ModerationScores,
            lambda: self._perception.moderate_video(media, sampling),
        )
        return scores

    async def _judged(self, media: MediaRef, model: ServedModel) -> ModerationScores:
        scores, _ = await self._tasks.run(
            "moderation",
            media,
            identity_of(model),
            {},
            ModerationScores,
            lambda: self._perception.moderate_image(media),
        )
        return scores


def pieces_of(text: str) -> Iterator[str]:
    """A text in pieces of at most 4,000 characters. Neighbours share so much that whatever is judged together lies
    in one of them whole; cuts are between words, where there are any.
    """
    start = 0
    while len(text) - start > _PIECE_CHARACTERS:
        end = _word_start(text, start + _PIECE_CHARACTERS, start + _PIECE_CHARACTERS // 2)
        yield text[start:end]
        start = _word_start(text, end - _SHARED_CHARACTERS, start + 1)
    yield text[start:]


def _word_start(text: str, position: int, lowest: int) -> int:
    """The last place at or before ``position``, but not before ``lowest``, that follows a space."""
    space = text.rfind(" ", lowest, position)
    return position if space < 0 else space + 1


def _keyed(tenant: str, texts: Sequence[str]) -> list[list[tuple[bytes, str]]]:
    """Each text's pieces with their keys. What others have asked must not show in how long an answer takes."""
    mine = sha256(tenant.encode("utf-8", "surrogatepass"))

    def key(piece: str) -> bytes:
        hashed = mine.copy()
        hashed.update(b"\0" + piece.encode("utf-8", "surrogatepass"))
        return hashed.digest()

    return [[(key(piece), piece) for piece in pieces_of(text)] for text in texts]


def _no_model(what: str, setting: str) -> ModelUnavailable:
    return ModelUnavailable(f"No model is served that judges {what} (encoders.{setting}).")
