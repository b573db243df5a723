"""The models that judge, behind their queues: loaded at the first question, so that who never asks pays nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import cast

from encoders import registry
from encoders.batching.loaded_on_use import LoadedOnUse
from encoders.batching.micro_batcher import BatchObserver, MicroBatcher
from encoders.config import EncoderConfig
from encoders.decoding.answers import UNUSABLE, DecodedFrame
from encoders.errors import CorruptMedia
from encoders.moderation import ImageModerator, ModerationScores, TextModerator
from encoders.types import Pixels, VideoSummary
from serving.deployments.frame_encoding import see_all

__all__ = ["SIDE_PIXELS", "highest_of_frames", "image_judge", "text_judge"]

SIDE_PIXELS = 512
"""The longer side of pictures that are judged: about twice what the network looks at."""


def text_judge(
    name: str, config: EncoderConfig, observe: BatchObserver
) -> MicroBatcher[str, ModerationScores]:
    """The model that judges texts."""
    model = LoadedOnUse(lambda: cast(TextModerator, registry.load(name, config)))
    return MicroBatcher(model, config.moderation_batches, observe)


def image_judge(
    name: str, config: EncoderConfig, observe: BatchObserver
) -> MicroBatcher[Pixels, ModerationScores]:
    """The model that judges pictures."""
    model = LoadedOnUse(lambda: cast(ImageModerator, registry.load(name, config)))
    return MicroBatcher(model, config.vision_batches, observe)


async def highest_of_frames(
    decoded: AsyncGenerator[DecodedFrame | VideoSummary, None],
    judge: Callable[[Pixels], Awaitable[ModerationScores]],
) -> ModerationScores:
    """The highest scores among frames, judged while later ones are decoded. ``CorruptMedia`` without any."""
    frames, _ = await see_all(decoded, judge)
    if not frames:
        raise CorruptMedia(UNUSABLE)
    return ModerationScores.highest(scores for _, _, scores in frames)
