"""The media encoders, and the bridge that makes of their tokens what a decoder reads, over handles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
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
from fusion.types import SoftTokens
from serving.exposition import merged
from serving.origin import outgoing
from serving.pool_calls import PoolBook, PoolCalls
from serving.ray_adapter.caller import Begun, Caller
from storage.types import MediaRef

__all__ = ["POOL_OF", "TOGETHER", "RayBridge", "RayPerception"]

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

_SERVICES = {
    TOGETHER: "The media encoders' service",
    "vision": "The service that looks at pictures",
    "ocr": "The service that reads text in pictures",
    "audio": "The service that hears and speaks",
    "text": "The service that embeds texts",
}


class RayPerception:
    """``serving.services.Perception`` over handles by the deployments' names: one for each kind of encoder
    (``POOL_OF``), or one for all (``TOGETHER``).

    ``book`` keeps the calls of each deployment; without it they are kept for this object alone. All methods can be
    asked twice. With ``shared``, results lie in Ray's object store and not in the messages: for pixels, which are
    large.
    """

    def __init__(
        self,
        handles: Mapping[str, DeploymentHandle],
        timeout_seconds: float,
        book: PoolBook | None = None,
        piece_timeout_seconds: float | None = None,
        *,
        shared: bool = False,
    ) -> None:
        kept = book or PoolBook()
        self.callers = {
            name: Caller(
                _by_reference(handle) if shared else handle,
                _SERVICES[name],
                timeout_seconds,
                kept.of(name, _SERVICES[name]),
                piece_timeout_seconds,
            )
            for name, handle in handles.items()
        }
        self._answering = _by_method(self.callers)

    async def call(self, method: str, *arguments: Any) -> Any:
        """What the deployment says that answers ``method``."""
        return await self._answering[method].call(method, *arguments)

    def stream(self, method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
        """The pieces that the deployment gives that answers ``method``."""
        return self._answering[method].stream(method, *arguments)

    async def ready(self) -> bool:
        """Whether every deployment of encoders is."""
        return all(await asyncio.gather(*(caller.ready() for caller in self.callers.values())))

    async def metrics(self) -> bytes:
        """Those of one replica of each deployment."""
        told = await asyncio.gather(*(caller.call("metrics") for caller in self.callers.values()))
        return merged(told)

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

    async def thumbnail(self, media: MediaRef, max_side: int) -> bytes:
        return bytes(await self.call("thumbnail", media, max_side))

    async def embed_texts(self, texts: tuple[str, ...]) -> Embeddings:
        result: Embeddings = await self.call("embed_texts", texts)
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


class RayBridge(Caller):
    """``serving.services.Bridge`` over handles: the encoders' as ``RayPerception`` takes them, and the bridge's.

    The encoders' tokens go from replica to replica through Ray's object store; who calls this never holds them.
    """

    def __init__(
        self,
        encoders: Mapping[str, DeploymentHandle],
        bridge: DeploymentHandle,
        timeout_seconds: float,
        calls: PoolCalls | None = None,
    ) -> None:
        super().__init__(_by_reference(bridge), "The bridge to the model", timeout_seconds, calls)
        self._encoding = _by_method({name: _by_reference(handle) for name, handle in encoders.items()})

    async def soft_image(self, media: MediaRef, views: int = 1) -> SoftTokens:
        return await self._projected("image_tokens", "project_image", media, views)

    async def soft_video(self, media: MediaRef, sampling: FrameSampling) -> SoftTokens:
        return await self._projected("video_tokens", "project_video", media, sampling)

    async def soft_audio(self, media: MediaRef) -> SoftTokens:
        return await self._projected("audio_tokens", "project_audio", media)

    async def _projected(self, encode: str, project: str, *arguments: Any) -> SoftTokens:
        def begin() -> Begun:
            tokens = getattr(self._encoding[encode], encode).remote(*arguments, **outgoing())
            return getattr(self._handle, project).remote(tokens, **outgoing()), tokens

        result: SoftTokens = await self.answer(begin)
        return result


def _by_method(deployments: Mapping[str, T]) -> Mapping[str, T]:
    """Which of the deployments answers each method. ``KeyError`` when none does."""
    if TOGETHER in deployments:
        return dict.fromkeys(POOL_OF, deployments[TOGETHER])
    return {method: deployments[pool] for method, pool in POOL_OF.items()}


def _by_reference(handle: DeploymentHandle) -> DeploymentHandle:
    """The handle with results in Ray's object store. The platform's default sends them inside the messages, and one
    that is an argument of another call would come here first.
    """
    return handle.options(_by_reference=True)
