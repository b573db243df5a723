"""The encoders' deployment: one replica that sees, reads, hears and embeds texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders import registry
from encoders.batching import MicroBatcher
from encoders.config import EncoderConfig
from encoders.errors import EncoderOverloaded, UnsupportedMedia
from encoders.picture import brightest_enough, perceptual_hash, small_jpeg
from encoders.sandbox import MediaDecoder
from encoders.types import (
    Embeddings,
    EncodedFrame,
    EncodedImage,
    EncodedVideo,
    FrameSampling,
    MediaInfo,
    TextLine,
    TranscribeOptions,
    Transcript,
)
from serving.concurrency import all_of
from serving.deployments.media_reader import MediaReader
from storage.backends import open_object_store
from storage.config import StorageConfig
from storage.types import MediaRef

__all__ = ["PerceptionDeployment"]

Pixels = NDArray[np.uint8]
Speech = tuple[NDArray[np.float32], TranscribeOptions]

# Decoded media wait in these queues, and each holds memory: a picture for reading up to 8 MB, half an hour
# of sound 115 MB.
_MAX_QUEUED_READINGS = 32
_MAX_QUEUED_TRANSCRIPTIONS = 8
_VISION_SIDE_PIXELS = 768
_READING_SIDE_PIXELS = 1600  # as the OCR model's file says
_HASHING_SIDE_PIXELS = 256  # 32 x 32 is what a perceptual hash looks at
_THUMBNAIL_FRAMES = FrameSampling(max_frames=4)


class PerceptionDeployment:
    """Satisfies ``serving.services.Perception``. Loading is done when the constructor returns."""

    def __init__(self, config: EncoderConfig, storage: StorageConfig) -> None:
        import torch

        torch.set_num_threads(config.threads)  # Ray sets OMP_NUM_THREADS to the replica's share
        self._reader = MediaReader(open_object_store(storage))
        self._max_texts = config.max_batch_size
        self._decoder = MediaDecoder(config.limits, workers=config.decoder_processes)
        self._decoder.start()  # its process starts while the models load
        # Loading them in parallel threads was measured: 3.5-3.9 s instead of 4.0 s, so it is not done.
        vision: Any = registry.load(config.vision_model, config)
        text: Any = registry.load(config.text_model, config)
        ocr: Any = registry.load(config.ocr_model, config)
        speech: Any = registry.load(config.speech_model, config)
        self._vision: MicroBatcher[Pixels, EncodedImage] = _batcher(vision.encode, config)
        self._text: MicroBatcher[tuple[str, ...], Embeddings] = _batcher(text.embed_many, config)
        reading = replace(config, max_batch_size=1, max_queued=_MAX_QUEUED_READINGS)
        self._ocr: MicroBatcher[Pixels, tuple[TextLine, ...]] = _batcher(
            lambda one: [ocr.read(one[0])], reading
        )
        hearing = replace(config, max_batch_size=1, max_queued=_MAX_QUEUED_TRANSCRIPTIONS)
        self._speech: MicroBatcher[Speech, Transcript] = _batcher(
            lambda one: [speech.transcribe(*one[0])], hearing
        )

    async def probe(self, media: MediaRef) -> MediaInfo:
        """See ``Perception.probe``."""
        return await self._reader.decoded(media, self._decoder.probe)

    async def encode_image(self, media: MediaRef) -> EncodedImage:
        """See ``Perception.encode_image``. Width and height are those of the full picture."""
        decode = partial(self._decoder.image, max_side=_VISION_SIDE_PIXELS)
        image = await self._reader.decoded(media, decode)
        encoded = await self._vision.submit(image.pixels)
        return replace(encoded, width=image.width, height=image.height)

    async def read_text(self, media: MediaRef) -> tuple[TextLine, ...]:
        """See ``Perception.read_text``. Boxes are in pixels of the full picture."""
        decode = partial(self._decoder.image, max_side=_READING_SIDE_PIXELS)
        image = await self._reader.decoded(media, decode)
        lines = await self._ocr.submit(image.pixels)
        scale = image.width / image.pixels.shape[1]
        return tuple(replace(line, box=tuple((x * scale, y * scale) for x, y in line.box)) for line in lines)

    async def encode_video(self, media: MediaRef, sampling: FrameSampling) -> EncodedVideo:
        """See ``Perception.encode_video``."""
        video = await self._reader.decoded(media, partial(self._decoder.frames, sampling=sampling))
        seen = await all_of(self._vision.submit(frame.pixels) for frame in video.frames)
        frames = tuple(
            EncodedFrame(frame.time_seconds, frame.reason, one.labels, one.embedding)
            for frame, one in zip(video.frames, seen, strict=True)
        )
        return EncodedVideo(video.duration_seconds, frames)

    async def transcribe(self, media: MediaRef, options: TranscribeOptions) -> Transcript:
        """See ``Perception.transcribe``. One at a time: a transcription uses all threads it is given."""
        return await self._speech.submit((await self._reader.decoded(media, self._decoder.audio), options))

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
            frames = partial(self._decoder.frames, sampling=_THUMBNAIL_FRAMES)
            video = await self._reader.decoded(media, frames)
            pixels = brightest_enough([frame.pixels for frame in video.frames])
        else:
            raise UnsupportedMedia("This medium has no picture to show: it is neither an image nor a video.")
        return await asyncio.to_thread(small_jpeg, pixels, max_side)

    async def embed_texts(self, texts: tuple[str, ...]) -> Embeddings:
        """See ``Perception.embed_texts``. Long lists go in pieces, so that short ones get in between."""
        starts = range(0, max(len(texts), 1), self._max_texts)
        parts = [await self._text.submit(texts[start : start + self._max_texts]) for start in starts]
        if len(parts) == 1:
            return parts[0]
        counts = tuple(count for part in parts for count in part.token_counts)
        return Embeddings(np.concatenate([part.vectors for part in parts]), counts)

    async def ready(self) -> bool:
        """The constructor has loaded and warmed everything."""
        return True

    async def check_health(self) -> None:
        """Raise, or hang into Ray's timeout, when a model thread no longer works. Busy is healthy."""
        try:
            await self.embed_texts(("health",))
        except EncoderOverloaded:
            return

    async def aclose(self) -> None:
        """Stop the decoder process and the queues."""
        await self._decoder.aclose()
        for batcher in (self._vision, self._text, self._ocr, self._speech):
            await batcher.aclose()


def _batcher(run: Callable[[list[Any]], Sequence[Any]], config: EncoderConfig) -> MicroBatcher[Any, Any]:
    return MicroBatcher(
        run,
        max_batch_size=config.max_batch_size,
        max_wait_seconds=config.max_batch_wait_seconds,
        max_queued=config.max_queued,
    )
