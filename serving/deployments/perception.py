"""The encoders' deployment: one replica that sees, reads, hears and embeds texts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from encoders import registry
from encoders.batching.batch_metrics import BatchMetrics
from encoders.batching.micro_batcher import MicroBatcher
from encoders.batching.queue_time import QUEUE_SECONDS, longest_wait
from encoders.batching.turns import OneAtATime
from encoders.config import EncoderConfig
from encoders.decoding.sandbox import DecodedFrame, MediaDecoder
from encoders.errors import EncoderError, ModelUnavailable, UnsupportedMedia
from encoders.memory_budget import available_bytes, check_memory
from encoders.moderation import ModerationScores
from encoders.picture import brightest_enough, perceptual_hash, small_jpeg
from encoders.text.encoder import TextEmbedding, stacked, text_of
from encoders.types import (
    AudioTokens,
    Embeddings,
    EncodedImage,
    EncodedVideo,
    Film,
    FrameSampling,
    ImageTokens,
    MediaInfo,
    Pixels,
    Quality,
    SeenMedium,
    Sound,
    SpeakOptions,
    Spoken,
    TextLine,
    TranscribeOptions,
    Transcript,
    TranscriptPart,
    VideoTokens,
)
from encoders.vision.encoder import vision_of
from encoders.vision.sights import Sight, SightEncoder
from encoders.vision.token_sights import TokenSight, TokenSightEncoder
from serving.concurrency import all_of
from serving.deployments.films import film_of
from serving.deployments.frame_encoding import encode_frames, token_frames
from serving.deployments.listening import Listening
from serving.deployments.media_reader import MediaReader
from serving.deployments.moderation import SIDE_PIXELS, Moderation, moderation_specs
from serving.deployments.speaking import Speaking, voice_spec
from storage.backends import open_object_store
from storage.config import StorageConfig
from storage.errors import StorageError
from storage.types import MediaRef

__all__ = ["PerceptionDeployment"]

# Decoded media wait in these queues, and each holds memory: a picture for reading up to 8 MB, half an hour
# of sound 115 MB.
_MAX_QUEUED_READINGS = 32
_MAX_QUEUED_TRANSCRIPTIONS = 8
_MAX_LOOKING = 3  # of the reader's four turns
_VISION_SIDE_PIXELS = 768  # of models that do not say what they make use of
_HASHING_SIDE_PIXELS = 256  # 32 x 32 is what a perceptual hash looks at
_HEALTH_SECONDS = 20.0  # within Ray's own 30
_THUMBNAIL_FRAMES = FrameSampling(max_frames=4)


class PerceptionDeployment:
    """Satisfies ``serving.services.Perception``. Loading is done when the constructor returns."""

    def __init__(self, config: EncoderConfig, storage: StorageConfig) -> None:
        names = [config.vision_model, config.text_model, config.ocr_model, config.speech_model]
        if config.token_model is not None:
            names.append(config.token_model)  # one that serves both is loaded once
        specs = {name: registry.find(name, config.models_dir) for name in names}
        every = [*specs.values(), *moderation_specs(config).values()]
        if (voice := voice_spec(config)) is not None:
            every.append(voice)
        registry.check_revisions(every, config.revisions)
        budget_bytes = config.max_memory_bytes
        check_memory(every, available_bytes() if budget_bytes is None else budget_bytes)
        self._reader = MediaReader(open_object_store(storage), storage.spool_folder)
        self._looking = asyncio.Semaphore(_MAX_LOOKING)
        self._decoder = MediaDecoder(config.limits, workers=config.decoder_processes)
        self._decoder.start()  # its processes start while the models load
        # Loading them in parallel threads was measured: 3.5-3.9 s instead of 4.0 s, so it is not done.
        try:
            models: dict[str, Any] = {name: registry.load(name, config) for name in specs}
            token_sights = (
                None if config.token_model is None else TokenSightEncoder(models[config.token_model])
            )
        except BaseException:
            self._decoder.close()
            raise
        self._vision_side = int(specs[config.vision_model].extra.get("side_pixels", _VISION_SIDE_PIXELS))
        self._reading_side: int = specs[config.ocr_model].extra["max_side_pixels"]
        self._dimensions = specs[config.text_model].dimensions or 0
        self.counts = CollectorRegistry()
        observer = BatchMetrics(self.counts).observer
        self._text: MicroBatcher[str, TextEmbedding] = MicroBatcher(
            text_of(models[config.text_model]), config.text_batches, observer("text")
        )
        self._vision: MicroBatcher[Sight, EncodedImage] = MicroBatcher(
            SightEncoder(vision_of(models[config.vision_model])), config.vision_batches, observer("image")
        )
        self._ocr: OneAtATime[Pixels, tuple[TextLine, ...]] = OneAtATime(
            models[config.ocr_model].read, _MAX_QUEUED_READINGS, observer("ocr")
        )
        speech = models[config.speech_model]
        self._speech = Listening(speech, _MAX_QUEUED_TRANSCRIPTIONS, observer("speech"))
        self._hearing: OneAtATime[Sound, AudioTokens] = OneAtATime(
            speech.encode, _MAX_QUEUED_TRANSCRIPTIONS, observer("speech tokens")
        )
        self._tokens: MicroBatcher[TokenSight, ImageTokens] | None = None
        if config.token_model is not None and token_sights is not None:
            self._token_side = int(specs[config.token_model].extra.get("side_pixels", _VISION_SIDE_PIXELS))
            self._tokens = MicroBatcher(token_sights, config.token_batches, observer("image tokens"))
        self._moderation = Moderation(config, observer)
        self._speaking = Speaking.of(config, observer("voice"))

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

    async def read_text(self, media: MediaRef) -> tuple[TextLine, ...]:
        """See ``Perception.read_text``. Boxes are in pixels of the full picture."""
        decode = partial(self._decoder.image, max_side=self._reading_side)
        image = await self._reader.decoded(media, decode)
        lines = await self._ocr.submit(image.pixels)
        scale = image.width / image.pixels.shape[1]
        return tuple(replace(line, box=tuple((x * scale, y * scale) for x, y in line.box)) for line in lines)

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

    async def audio_tokens(self, media: MediaRef) -> AudioTokens:
        """See ``Perception.audio_tokens``. One at a time, beside the transcriptions."""
        return await self._hearing.submit(await self._reader.decoded(media, self._decoder.audio))

    async def picture(self, media: MediaRef, max_side: int) -> Pixels:
        """See ``Perception.picture``."""
        decoded = await self._reader.decoded(media, partial(self._decoder.image, max_side=max_side))
        return decoded.pixels

    async def film(self, media: MediaRef, sampling: FrameSampling) -> Film:
        """See ``Perception.film``."""
        async with self._reader.opened(media) as source:
            return await film_of(self._decoder.frames(source, sampling))

    async def sound(self, media: MediaRef) -> Sound:
        """See ``Perception.sound``."""
        return await self._reader.decoded(media, self._decoder.audio)

    async def transcribe(self, media: MediaRef, options: TranscribeOptions) -> Transcript:
        """See ``Perception.transcribe``."""
        return await self._speech.transcribe(await self._reader.decoded(media, self._decoder.audio), options)

    async def transcript_parts(
        self, media: MediaRef, options: TranscribeOptions
    ) -> AsyncGenerator[TranscriptPart, None]:
        """See ``Perception.transcript_parts``."""
        samples = await self._reader.decoded(media, self._decoder.audio)
        async with aclosing(self._speech.stream(samples, options)) as parts:
            async for part in parts:
                yield part

    async def fingerprint(self, media: MediaRef) -> str:
        """See ``Perception.fingerprint``."""
        decode = partial(self._decoder.image, max_side=_HASHING_SIDE_PIXELS)
        image = await self._reader.decoded(media, decode)
        return await asyncio.to_thread(perceptual_hash, image.pixels)

    async def thumbnail(self, media: MediaRef, max_side: int) -> bytes:
        """See ``Perception.thumbnail``."""
        kind = media.content_type.partition("/")[0]
        if kind == "image":
            decode = partial(self._decoder.image, max_side=max_side)
            pixels = (await self._reader.decoded(media, decode)).pixels
        elif kind == "video":
            async with self._reader.opened(media) as source:
                shown = [
                    frame.pixels
                    async for frame in self._decoder.frames(source, _THUMBNAIL_FRAMES)
                    if isinstance(frame, DecodedFrame)
                ]
            pixels = brightest_enough(shown)
        else:
            raise UnsupportedMedia("This medium has no picture to show: it is neither an image nor a video.")
        return await asyncio.to_thread(small_jpeg, pixels, max_side)

    async def embed_texts(self, texts: tuple[str, ...]) -> Embeddings:
        """See ``Perception.embed_texts``."""
        return stacked(await self._text.submit(texts), self._dimensions)

    async def moderate_texts(self, texts: tuple[str, ...]) -> tuple[ModerationScores, ...]:
        """See ``Perception.moderate_texts``."""
        return await self._moderation.texts(texts)

    async def moderate_image(self, media: MediaRef) -> ModerationScores:
        """See ``Perception.moderate_image``."""
        return await self._moderation.image(await self.picture(media, SIDE_PIXELS))

    async def moderate_video(self, media: MediaRef, sampling: FrameSampling) -> ModerationScores:
        """See ``Perception.moderate_video``."""
        smaller = replace(sampling, max_side=min(sampling.max_side, SIDE_PIXELS))
        async with self._reader.opened(media) as source:
            return await self._moderation.frames(self._decoder.frames(source, smaller))

    async def speak(self, options: SpeakOptions) -> AsyncGenerator[bytes | Spoken, None]:
        """See ``Perception.speak``."""
        async with aclosing(self._speaking.speak(options)) as pieces:
            async for piece in pieces:
                yield piece

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray Serve asks for twice a second where replicas are scaled by how long their queues wait."""
        queues = (
            *(self._vision, self._text, self._ocr, self._speech, self._hearing),
            *(self._tokens, self._moderation, self._speaking),
        )
        return {QUEUE_SECONDS: longest_wait(queues)}

    async def metrics(self) -> bytes:
        """See ``Perception.metrics``."""
        return generate_latest(self.counts)

    async def ready(self) -> bool:
        """The constructor has loaded and warmed everything."""
        return True

    async def check_health(self) -> None:
        """Raise when the text model's thread no longer works. Busy is healthy, however long the queue is."""
        await self._text.check_alive("health", _HEALTH_SECONDS)

    async def aclose(self) -> None:
        """Stop the decoder processes and the queues."""
        await self._decoder.aclose()
        for worker in (self._vision, self._text, self._ocr, self._speech, self._hearing):
            await worker.aclose()
        if self._tokens is not None:
            await self._tokens.aclose()
        await self._moderation.aclose()
        await self._speaking.aclose()

    def _token_model(self) -> MicroBatcher[TokenSight, ImageTokens]:
        if self._tokens is None:
            raise ModelUnavailable("No vision model is loaded whose tokens a bridge could take.")
        return self._tokens

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

    async def see(self, pixels: Pixels, quality: Quality = Quality.FAST) -> EncodedImage:
        """Labels and embedding of a picture that is decoded already; width and height are those of ``pixels``."""
        return (await self._vision.submit((Sight(pixels, quality),)))[0]
