"""A stand-in for the media encoders: every item takes the same time, asleep, behind the real queue.

What it finds is made up of the medium's hash, so the same medium gives the same answer from every replica. Media
are not opened: any bytes with the right magic number will do.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.fake_engine import Pace
from encoders import registry
from encoders.batching.batch_metrics import BatchMetrics
from encoders.batching.queue_time import QUEUE_SECONDS, longest_wait
from encoders.batching.turns import OneAtATime
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.moderation import ModerationScores
from encoders.types import (
    AudioTokens,
    Embeddings,
    EncodedFrame,
    EncodedImage,
    EncodedVideo,
    Film,
    FrameSampling,
    ImageLabel,
    ImageTokens,
    MediaInfo,
    MediaKind,
    Pixels,
    Quality,
    SeenMedium,
    Sound,
    SpeakOptions,
    Spoken,
    TextLine,
    TranscribeOptions,
    Transcript,
    TranscriptBegun,
    TranscriptPart,
    TranscriptSegment,
    Vector,
    VideoTokens,
)
from storage.config import StorageConfig
from storage.types import MediaRef

__all__ = ["FakeEncoders"]

_MAX_QUEUED = 256
_SECONDS = 3.0  # of every sound and video
_WIDTH, _HEIGHT = 640, 480
_SIDE, _PATCHES, _TOKEN_WIDTH = 8, 4, 6


class FakeEncoders:
    """Satisfies ``serving.services.Perception``; stands for one deployment of all encoders and for each pool."""

    def __init__(self, config: EncoderConfig, storage: StorageConfig, pace: Pace) -> None:
        self._dimensions = registry.find(config.text_model, config.models_dir).dimensions or 0
        self._seconds = pace.encode_seconds
        self.counts = CollectorRegistry()
        self._turns: OneAtATime[int, None] = OneAtATime(
            self._work, _MAX_QUEUED, BatchMetrics(self.counts).observer("image")
        )

    async def probe(self, media: MediaRef) -> MediaInfo:
        """What the content type says, at no cost."""
        kind = MediaKind(media.content_type.partition("/")[0])
        if kind is MediaKind.IMAGE:
            return MediaInfo(kind, media.content_type, _WIDTH, _HEIGHT)
        if kind is MediaKind.AUDIO:
            return MediaInfo(kind, media.content_type, duration_seconds=_SECONDS, has_audio=True)
        return MediaInfo(kind, media.content_type, _WIDTH, _HEIGHT, _SECONDS, 25.0, True)

    async def look(
        self, media: tuple[MediaRef, ...], quality: Quality = Quality.FAST, min_side: int = 0
    ) -> tuple[SeenMedium | Exception, ...]:
        seen: list[SeenMedium | Exception] = []
        for one in media:
            info = await self.probe(one)
            seen.append(
                SeenMedium(info, await self.encode_image(one) if info.kind is MediaKind.IMAGE else None)
            )
        return tuple(seen)

    async def encode_image(self, media: MediaRef, quality: Quality = Quality.FAST) -> EncodedImage:
        await self._cost()
        return EncodedImage(_labels(media), self._vector(media.sha256), _WIDTH, _HEIGHT)

    async def encode_video(self, media: MediaRef, sampling: FrameSampling) -> EncodedVideo:
        await self._cost()
        frames = tuple(
            EncodedFrame(second, sampling.method, _labels(media), self._vector(f"{media.sha256} {second}"))
            for second in _times(sampling)
        )
        return EncodedVideo(_SECONDS, frames)

    async def read_text(self, media: MediaRef) -> tuple[TextLine, ...]:
        await self._cost()
        corners = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))
        return (TextLine(f"number {media.sha256[:6]}", 0.9, corners),)

    async def image_tokens(self, media: MediaRef, views: int = 1) -> ImageTokens:
        await self._cost()
        boxes = tuple((index, 0, index + 1, _HEIGHT) for index in range(views))
        return ImageTokens(_normal(media.sha256, (views, _PATCHES, _TOKEN_WIDTH)), boxes)

    async def video_tokens(self, media: MediaRef, sampling: FrameSampling) -> VideoTokens:
        await self._cost()
        times = _times(sampling)
        tokens = _normal(media.sha256, (len(times), _PATCHES, _TOKEN_WIDTH))
        return VideoTokens(tokens, times, (sampling.method,) * len(times), _SECONDS)

    async def audio_tokens(self, media: MediaRef) -> AudioTokens:
        await self._cost()
        tokens = _normal(media.sha256, (_PATCHES, _TOKEN_WIDTH))
        pooled = tokens.mean(axis=0)
        return AudioTokens(tokens, pooled / np.linalg.norm(pooled), _SECONDS / _PATCHES)

    async def picture(self, media: MediaRef, max_side: int) -> Pixels:
        return _pixels(media.sha256)

    async def film(self, media: MediaRef, sampling: FrameSampling) -> Film:
        times = _times(sampling)
        frames = np.stack([_pixels(f"{media.sha256} {time}") for time in times])
        return Film(frames, times, (sampling.method,) * len(times), _SECONDS)

    async def sound(self, media: MediaRef) -> Sound:
        return np.zeros(int(16_000 * _SECONDS), np.float32)

    async def transcribe(self, media: MediaRef, options: TranscribeOptions) -> Transcript:
        await self._cost()
        text = f" Number {media.sha256[:6]}."
        segment = TranscriptSegment(0.0, _SECONDS, text, -0.2, 0.01, 1.1, 0.0, (1, 2), ())
        return Transcript(options.language or "en", _SECONDS, (segment,))

    async def transcript_parts(
        self, media: MediaRef, options: TranscribeOptions
    ) -> AsyncGenerator[TranscriptPart, None]:
        yield TranscriptBegun(options.language or "en", _SECONDS)
        for segment in (await self.transcribe(media, options)).segments:
            yield segment

    async def fingerprint(self, media: MediaRef) -> str:
        return media.sha256[:16]

    async def thumbnail(self, media: MediaRef, max_side: int, at_seconds: float | None = None) -> bytes:
        return b"\xff\xd8\xff" + media.sha256.encode()

    async def embed_texts(self, texts: tuple[str, ...], model: str | None = None) -> Embeddings:
        await self._cost()
        return Embeddings(
            np.stack([self._vector(text) for text in texts]),
            tuple(len(text.split()) for text in texts),
            (1,) * len(texts),
        )

    async def moderate_texts(self, texts: tuple[str, ...]) -> tuple[ModerationScores, ...]:
        await self._cost()
        return tuple(ModerationScores.of({"toxic": 0.01}) for _ in texts)

    async def moderate_image(self, media: MediaRef) -> ModerationScores:
        await self._cost()
        return ModerationScores.of({"sexual": 0.01})

    async def moderate_video(self, media: MediaRef, sampling: FrameSampling) -> ModerationScores:
        return await self.moderate_image(media)

    async def speak(self, options: SpeakOptions) -> AsyncGenerator[bytes | Spoken, None]:
        raise ModelUnavailable("No voice is set.")
        yield b""

    async def metrics(self) -> bytes:
        return generate_latest(self.counts)

    async def ready(self) -> bool:
        return True

    async def check_health(self) -> None:
        """Always well."""

    def record_autoscaling_stats(self) -> dict[str, float]:
        """For how long the first in the queue has waited."""
        return {QUEUE_SECONDS: longest_wait([self._turns])}

    async def aclose(self) -> None:
        """Stop the queue."""
        await self._turns.aclose()

    async def _cost(self) -> None:
        await self._turns.submit(1)

    def _work(self, items: int) -> None:
        time.sleep(items * self._seconds)

    def _vector(self, words: str) -> Vector:
        vector = _normal(words, (self._dimensions,))
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def _random(words: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big"))


def _normal(words: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return _random(words).normal(size=shape).astype(np.float32)


def _pixels(words: str) -> Pixels:
    colour = _random(words).integers(0, 256, 3, dtype=np.uint8)
    return np.broadcast_to(colour, (_SIDE, _SIDE, 3)).copy()


def _labels(media: MediaRef) -> tuple[ImageLabel, ...]:
    return (ImageLabel(f"thing {media.sha256[:6]}", 0.9),)


def _times(sampling: FrameSampling) -> tuple[float, ...]:
    return tuple(float(second) for second in range(min(sampling.max_frames, int(_SECONDS))))
