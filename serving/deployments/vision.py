"""The deployment that looks at pictures and videos."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from encoders.batching.micro_batcher import MicroBatcher
from encoders.config import EncoderConfig
from encoders.decoding.sandbox import DecodedFrame
from encoders.errors import EncoderError, ModelUnavailable, UnsupportedMedia
from encoders.moderation import ModerationScores
from encoders.picture import brightest_enough, perceptual_hash, small_jpeg
from encoders.types import (
    EncodedImage,
    EncodedVideo,
    Film,
    FrameSampling,
    ImageTokens,
    MediaInfo,
    Pixels,
    Quality,
    SeenMedium,
    VideoTokens,
)
from encoders.vision.encoder import vision_of
from encoders.vision.sights import Sight, SightEncoder
from encoders.vision.token_sights import TokenSight, TokenSightEncoder
from serving.concurrency import all_of
from serving.deployments.encoder_deployment import Loaded, MediaDeployment
from serving.deployments.films import film_of
from serving.deployments.frame_encoding import encode_frames, token_frames
from serving.deployments.moderation import SIDE_PIXELS, highest_of_frames, image_judge
from storage.errors import StorageError
from storage.types import MediaRef

__all__ = ["VisionDeployment"]

_MAX_LOOKING = 3  # of the reader's four turns
_SIDE_PIXELS = 768  # of models that do not say what they make use of
_HASHING_SIDE_PIXELS = 256  # 32 x 32 is what a perceptual hash looks at
_HEALTH_SECONDS = 20.0  # within Ray's own 30
_THUMBNAIL_FRAMES = FrameSampling(max_frames=4)
_ROUNDING_SECONDS = 0.001


class VisionDeployment(MediaDeployment):
    """The methods of ``serving.services.Perception`` that look, and those that say what a medium is."""

    async def probe(self, media: MediaRef) -> MediaInfo:
        """See ``Perception.probe``."""
        return await self._reader.decoded(media, self._decoder.probe)

    async def look(
        self, media: tuple[MediaRef, ...], quality: Quality = Quality.FAST, min_side: int = 0
    ) -> tuple[SeenMedium | Exception, ...]:
        """See ``Perception.look``. All of these calls together decode a few media at a time, so that others
        find their turn.
        """
        return tuple(await all_of(self._look(one, quality, min_side) for one in media))

    async def encode_image(self, media: MediaRef, quality: Quality = Quality.FAST) -> EncodedImage:
        """See ``Perception.encode_image``. Width and height are those of the full picture."""
        decode = partial(self._decoder.image, max_side=self._vision_side)
        image = await self._reader.decoded(media, decode)
        encoded = await self.see(image.pixels, quality)
        return replace(encoded, width=image.width, height=image.height)

    async def encode_video(self, media: MediaRef, sampling: FrameSampling) -> EncodedVideo:
        """See ``Perception.encode_video``."""
        smaller = replace(sampling, max_side=min(sampling.max_side, self._vision_side))
        async with self._reader.opened(media) as source:
            return await encode_frames(self._decoder.frames(source, smaller), self.see)

    async def image_tokens(self, media: MediaRef, views: int = 1) -> ImageTokens:
        """See ``Perception.image_tokens``."""
        tokens = self._token_model()
        decode = partial(self._decoder.image, max_side=self._token_side)
        pixels = (await self._reader.decoded(media, decode)).pixels
        return (await tokens.submit((TokenSight(pixels, views),)))[0]

    async def video_tokens(self, media: MediaRef, sampling: FrameSampling) -> VideoTokens:
        """See ``Perception.video_tokens``."""
        tokens = self._token_model()

        async def see(pixels: Pixels) -> ImageTokens:
            return (await tokens.submit((TokenSight(pixels, 1),)))[0]

        smaller = replace(sampling, max_side=min(sampling.max_side, self._token_side))
        async with self._reader.opened(media) as source:
            return await token_frames(self._decoder.frames(source, smaller), see)

    async def picture(self, media: MediaRef, max_side: int) -> Pixels:
        """See ``Perception.picture``."""
        decoded = await self._reader.decoded(media, partial(self._decoder.image, max_side=max_side))
        return decoded.pixels

    async def film(self, media: MediaRef, sampling: FrameSampling) -> Film:
        """See ``Perception.film``."""
        async with self._reader.opened(media) as source:
            return await film_of(self._decoder.frames(source, sampling))

    async def fingerprint(self, media: MediaRef) -> str:
        """See ``Perception.fingerprint``."""
        return await asyncio.to_thread(perceptual_hash, await self.picture(media, _HASHING_SIDE_PIXELS))

    async def thumbnail(self, media: MediaRef, max_side: int, at_seconds: float | None = None) -> bytes:
        """See ``Perception.thumbnail``."""
        kind = media.content_type.partition("/")[0]
        if kind == "image":
            pixels = await self.picture(media, max_side)
        elif kind == "video":
            sampling = _THUMBNAIL_FRAMES if at_seconds is None else _frame_at(at_seconds)
            async with self._reader.opened(media) as source:
                shown = [
                    frame.pixels
                    async for frame in self._decoder.frames(source, sampling)
                    if isinstance(frame, DecodedFrame)
                ]
            pixels = brightest_enough(shown)
        else:
            raise UnsupportedMedia("This medium has no picture to show: it is neither an image nor a video.")
        return await asyncio.to_thread(small_jpeg, pixels, max_side)

    async def moderate_image(self, media: MediaRef) -> ModerationScores:
        """See ``Perception.moderate_image``."""
        return await self._judge(await self.picture(media, SIDE_PIXELS))

    async def moderate_video(self, media: MediaRef, sampling: FrameSampling) -> ModerationScores:
        """See ``Perception.moderate_video``."""
        smaller = replace(sampling, max_side=min(sampling.max_side, SIDE_PIXELS))
        async with self._reader.opened(media) as source:
            return await highest_of_frames(self._decoder.frames(source, smaller), self._judge)

    async def see(self, pixels: Pixels, quality: Quality = Quality.FAST) -> EncodedImage:
        """Labels and embedding of a picture that is decoded already; width and height are those of ``pixels``."""
        return (await self._vision.submit((Sight(pixels, quality),)))[0]

    async def check_health(self) -> None:
        """Raise when the vision model's thread no longer works. Busy is healthy, however long the queue is."""
        blank = Sight(np.zeros((64, 64, 3), np.uint8), Quality.FAST)
        await self._vision.check_alive(blank, _HEALTH_SECONDS)

    def _loaded_at_start(self, config: EncoderConfig) -> Sequence[str]:
        tokens = config.token_model
        return (
            config.vision_model,
            *(() if tokens is None else (tokens,)),
            *super()._loaded_at_start(config),
        )

    def _loaded_on_use(self, config: EncoderConfig) -> Sequence[str]:
        judge = config.moderation_image_model
        return (*super()._loaded_on_use(config), *(() if judge is None else (judge,)))

    def _begin(self, loaded: Loaded) -> None:
        super()._begin(loaded)
        config = loaded.config
        self._looking = asyncio.Semaphore(_MAX_LOOKING)
        self._vision_side = _side_pixels(loaded, config.vision_model)
        self._vision: MicroBatcher[Sight, EncodedImage] = self._worker(
            MicroBatcher(
                SightEncoder(vision_of(loaded.models[config.vision_model])),
                config.vision_batches,
                loaded.observer("image"),
            )
        )
        self._tokens: MicroBatcher[TokenSight, ImageTokens] | None = None
        if config.token_model is not None:
            self._token_side = _side_pixels(loaded, config.token_model)
            self._tokens = self._worker(
                MicroBatcher(
                    TokenSightEncoder(loaded.models[config.token_model]),
                    config.token_batches,
                    loaded.observer("image tokens"),
                )
            )
        self._image_judge: MicroBatcher[Pixels, ModerationScores] | None = None
        if config.moderation_image_model is not None:
            self._image_judge = self._worker(
                image_judge(config.moderation_image_model, config, loaded.observer("image moderation"))
            )

    async def _look(self, media: MediaRef, quality: Quality, min_side: int) -> SeenMedium | Exception:
        try:
            async with self._looking:
                seen = await self._reader.decoded(
                    media, partial(self._decoder.look, max_side=self._vision_side)
                )
            info, pixels = seen.info, seen.pixels
            if pixels is None or min(info.width or 0, info.height or 0) < min_side:
                return SeenMedium(info, None)
            encoded = await self.see(pixels, quality)
            return SeenMedium(
                info,
                replace(encoded, width=info.width or encoded.width, height=info.height or encoded.height),
            )
        except (EncoderError, StorageError) as error:
            return error

    async def _judge(self, pixels: Pixels) -> ModerationScores:
        if self._image_judge is None:
            raise ModelUnavailable("No model is set that judges pictures (encoders.moderation_image).")
        return (await self._image_judge.submit((pixels,)))[0]

    def _token_model(self) -> MicroBatcher[TokenSight, ImageTokens]:
        if self._tokens is None:
            raise ModelUnavailable("No vision model is loaded whose tokens a bridge could take.")
        return self._tokens


def _frame_at(seconds: float) -> FrameSampling:
    """The one frame that is shown then. A little after it: times that clients were told are rounded."""
    return FrameSampling(max_frames=1, start_seconds=seconds, end_seconds=seconds + 2 * _ROUNDING_SECONDS)


def _side_pixels(loaded: Loaded, name: str) -> int:
    return int(loaded.specs[name].extra.get("side_pixels", _SIDE_PIXELS))
