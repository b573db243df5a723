"""The media encoders over handles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from typing import Any, Literal, TypeVar

from ray.serve.handle import DeploymentHandle

from encoders.moderation import ModerationScores
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
from serving.exposition import merged
from serving.pool_calls import PoolBook
from serving.ray_adapter.caller import Caller
from storage.types import MediaRef

__all__ = ["POOL_OF", "SERVICES", "TOGETHER", "RayPerception", "by_method", "by_reference"]

T = TypeVar("T")


POOL_OF: Mapping[str, str] = {
    "probe": "vision",
    "look": "vision",
    "encode_image": "vision",
    "encode_video": "vision",
    "image_tokens": "vision",
    "video_tokens": "vision",
    "picture": "vision",
    "film": "vision",
    "fingerprint": "vision",
    "thumbnail": "vision",
    "moderate_image": "vision",
    "moderate_video": "vision",
    "read_text": "ocr",
    "transcribe": "audio",
    "transcript_parts": "audio",
    "audio_tokens": "audio",
    "sound": "audio",
    "speak": "audio",
    "embed_texts": "text",
    "moderate_texts": "text",
}
"""Which of the encoders' deployments answers what, where each kind has its own."""

TOGETHER: Literal["perception"] = "perception"
"""The deployment that answers everything, where all kinds share replicas."""

SERVICES = {
    TOGETHER: "The media encoders' service",
    "vision": "The service that looks at pictures",
    "ocr": "The service that reads text in pictures",
    "audio": "The service that hears and speaks",
    "text": "The service that embeds texts",
}
"""What error sentences call each of these deployments."""


class RayPerception:
    """``serving.services.Perception`` over handles by the deployments' names: one for each kind of encoder
    (``POOL_OF``), or one for all (``TOGETHER``).

    ``book`` keeps the calls of each deployment; without it they are kept for this object alone. All methods can be
    asked twice. With ``shared``, results lie in Ray's object store and not in the messages: for pixels, which are
    large. Deployments that ``may_sleep`` are not asked for metrics: it would wake them, or keep them awake.
    """

    def __init__(
        self,
        handles: Mapping[str, DeploymentHandle],
        timeout_seconds: float,
        book: PoolBook | None = None,
        piece_timeout_seconds: float | None = None,
        *,
        shared: bool = False,
        may_sleep: Collection[str] = (),
    ) -> None:
        self._may_sleep = may_sleep
        kept = book or PoolBook()
        self.callers = {
            name: Caller(
                by_reference(handle) if shared else handle,
                SERVICES[name],
                timeout_seconds,
                kept.of(name, SERVICES[name]),
                piece_timeout_seconds,
            )
            for name, handle in handles.items()
        }
        self._answering = by_method(self.callers)

    async def call(self, method: str, *arguments: Any, key: str = "") -> Any:
        """What the deployment says that answers ``method``; ``key`` as in ``Caller.call``."""
        return await self._answering[method].call(method, *arguments, key=key)

    def stream(self, method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
        """The pieces that the deployment gives that answers ``method``."""
        return self._answering[method].stream(method, *arguments)

    async def ready(self) -> bool:
        """Whether every deployment of encoders is."""
        return all(await asyncio.gather(*(caller.ready() for caller in self.callers.values())))

    async def metrics(self) -> bytes:
        """Those of one replica of each deployment that always has one."""
        asked = [caller for name, caller in self.callers.items() if name not in self._may_sleep]
        return merged(await asyncio.gather(*(caller.call("metrics") for caller in asked)))

    async def probe(self, media: MediaRef) -> MediaInfo:
        result: MediaInfo = await self.call("probe", media)
        return result

    async def look(
        self, media: tuple[MediaRef, ...], quality: Quality = Quality.FAST, min_side: int = 0
    ) -> tuple[SeenMedium | Exception, ...]:
        result: tuple[SeenMedium | Exception, ...] = await self.call("look", media, quality, min_side)
        return result

    async def encode_image(self, media: MediaRef, quality: Quality = Quality.FAST) -> EncodedImage:
        result: EncodedImage = await self.call("encode_image", media, quality)
        return result

    async def read_text(self, media: MediaRef) -> tuple[TextLine, ...]:
        result: tuple[TextLine, ...] = await self.call("read_text", media)
        return result

    async def encode_video(self, media: MediaRef, sampling: FrameSampling) -> EncodedVideo:
        result: EncodedVideo = await self.call("encode_video", media, sampling)
        return result

    async def transcribe(self, media: MediaRef, options: TranscribeOptions) -> Transcript:
        result: Transcript = await self.call("transcribe", media, options)
        return result

    async def transcript_parts(
        self, media: MediaRef, options: TranscribeOptions
    ) -> AsyncGenerator[TranscriptPart, None]:
        async with aclosing(self.stream("transcript_parts", media, options)) as parts:
            async for part in parts:
                yield part

    async def image_tokens(self, media: MediaRef, views: int = 1) -> ImageTokens:
        result: ImageTokens = await self.call("image_tokens", media, views)
        return result

    async def video_tokens(self, media: MediaRef, sampling: FrameSampling) -> VideoTokens:
        result: VideoTokens = await self.call("video_tokens", media, sampling)
        return result

    async def audio_tokens(self, media: MediaRef) -> AudioTokens:
        result: AudioTokens = await self.call("audio_tokens", media)
        return result

    async def picture(self, media: MediaRef, max_side: int) -> Pixels:
        result: Pixels = await self.call("picture", media, max_side)
        return result

    async def film(self, media: MediaRef, sampling: FrameSampling) -> Film:
        result: Film = await self.call("film", media, sampling)
        return result

    async def sound(self, media: MediaRef) -> Sound:
        result: Sound = await self.call("sound", media)
        return result

    async def fingerprint(self, media: MediaRef) -> str:
        return str(await self.call("fingerprint", media))

    async def thumbnail(self, media: MediaRef, max_side: int, at_seconds: float | None = None) -> bytes:
        return bytes(await self.call("thumbnail", media, max_side, at_seconds))

    async def embed_texts(self, texts: tuple[str, ...], model: str | None = None) -> Embeddings:
        if model is None:
            result: Embeddings = await self.call("embed_texts", texts)
        else:  # to a replica that has it in memory, if one has
            result = await self.call("embed_texts", texts, model, key=model)
        return result

    async def moderate_texts(self, texts: tuple[str, ...]) -> tuple[ModerationScores, ...]:
        result: tuple[ModerationScores, ...] = await self.call("moderate_texts", texts)
        return result

    async def moderate_image(self, media: MediaRef) -> ModerationScores:
        result: ModerationScores = await self.call("moderate_image", media)
        return result

    async def moderate_video(self, media: MediaRef, sampling: FrameSampling) -> ModerationScores:
        result: ModerationScores = await self.call("moderate_video", media, sampling)
        return result

    async def speak(self, options: SpeakOptions) -> AsyncGenerator[bytes | Spoken, None]:
        async with aclosing(self.stream("speak", options)) as pieces:
            async for piece in pieces:
                yield piece


def by_method(deployments: Mapping[str, T]) -> Mapping[str, T]:
    """Which of the deployments answers each method. ``KeyError`` when none does."""
    if TOGETHER in deployments:
        return dict.fromkeys(POOL_OF, deployments[TOGETHER])
    return {method: deployments[pool] for method, pool in POOL_OF.items()}


def by_reference(handle: DeploymentHandle) -> DeploymentHandle:
    """The handle with results in Ray's object store. The platform's default sends them inside the messages, and one
    that is an argument of another call would come here first.
    """
    return handle.options(_by_reference=True)
