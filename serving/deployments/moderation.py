"""The moderation models beside the encoders: loaded at the first question, so that who never asks pays nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, cast

from encoders import registry
from encoders.batching.loaded_on_use import LoadedOnUse
from encoders.batching.micro_batcher import BatchObserver, MicroBatcher
from encoders.batching.queue_time import longest_wait
from encoders.config import EncoderConfig
from encoders.decoding.answers import UNUSABLE, DecodedFrame
from encoders.errors import CorruptMedia, ModelUnavailable
from encoders.moderation import ImageModerator, ModerationScores, TextModerator
from encoders.types import ModelSpec, Pixels, VideoSummary
from serving.deployments.frame_encoding import see_all

__all__ = ["SIDE_PIXELS", "Moderation", "moderation_specs"]

SIDE_PIXELS = 512
"""The longer side of pictures that are judged: about twice what the network looks at."""


def moderation_specs(config: EncoderConfig) -> Mapping[str, ModelSpec]:
    """The models that are set, by name. Raises ``ModelUnavailable`` for one that is not prepared: at the start, not
    at the first question.
    """
    names = [one for one in (config.moderation_text_model, config.moderation_image_model) if one is not None]
    specs = {name: registry.find(name, config.models_dir) for name in names}
    for spec in specs.values():
        registry.find_directory(spec, config.models_dir)
    return specs


class Moderation:
    """Queues in front of both models. Use from one event loop."""

    def __init__(self, config: EncoderConfig, observer: Callable[[str], BatchObserver]) -> None:
        self._texts: MicroBatcher[str, ModerationScores] | None = None
        self._images: MicroBatcher[Pixels, ModerationScores] | None = None
        if (text := config.moderation_text_model) is not None:
            self._texts = MicroBatcher(
                LoadedOnUse(lambda: cast(TextModerator, registry.load(text, config))),
                config.moderation_batches,
                observer("text moderation"),
            )
        if (image := config.moderation_image_model) is not None:
            self._images = MicroBatcher(
                LoadedOnUse(lambda: cast(ImageModerator, registry.load(image, config))),
                config.vision_batches,
                observer("image moderation"),
            )

    async def texts(self, texts: tuple[str, ...]) -> tuple[ModerationScores, ...]:
        """Scores of texts, in order."""
        if self._texts is None:
            raise ModelUnavailable("No model is set that judges texts (encoders.moderation_text).")
        return tuple(await self._texts.submit(texts))

    async def image(self, pixels: Pixels) -> ModerationScores:
        """Scores of a picture."""
        return (await self._judging().submit((pixels,)))[0]

    async def frames(self, decoded: AsyncGenerator[DecodedFrame | VideoSummary, None]) -> ModerationScores:
        """The highest scores among frames, judged while later ones are decoded. ``CorruptMedia`` without any."""
        frames, _ = await see_all(decoded, self.image)
        if not frames:
            raise CorruptMedia(UNUSABLE)
        return ModerationScores.highest(scores for _, _, scores in frames)

    @property
    def waiting_seconds(self) -> float:
        """For how long the first in either queue has waited; 0 while nothing waits."""
        return longest_wait((self._texts, self._images))

    async def aclose(self) -> None:
        """Stop both queues."""
        workers: tuple[MicroBatcher[Any, Any] | None, ...] = (self._texts, self._images)
        for worker in workers:
            if worker is not None:
                await worker.aclose()

    def _judging(self) -> MicroBatcher[Pixels, ModerationScores]:
        if self._images is None:
            raise ModelUnavailable("No model is set that judges pictures (encoders.moderation_image).")
        return self._images
