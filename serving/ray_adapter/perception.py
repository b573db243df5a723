"""The media encoders, and the bridge that makes of their tokens what a decoder reads, over handles."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

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
from serving.origin import outgoing
from serving.pool_calls import PoolCalls
from serving.ray_adapter.caller import Begun, Caller
from storage.types import MediaRef

__all__ = ["RayBridge", "RayPerception"]


class RayPerception(Caller):
    """``serving.services.Perception`` over a handle; ``calls`` as in ``Caller``, all methods can be asked twice.

    With ``shared``, results lie in Ray's object store and not in the messages: for pixels, which are large.
    """

    def __init__(
        self,
        handle: DeploymentHandle,
        timeout_seconds: float,
        calls: PoolCalls | None = None,
        piece_timeout_seconds: float | None = None,
        *,
        shared: bool = False,
    ) -> None:
        super().__init__(
            _by_reference(handle) if shared else handle,
            "The media encoders' service",
            timeout_seconds,
            calls,
            piece_timeout_seconds,
        )

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

    async def metrics(self) -> bytes:
        return bytes(await self.call("metrics"))


class RayBridge(Caller):
    """``serving.services.Bridge`` over the handles of the encoders and of the bridge.

    The encoders' tokens go from replica to replica through Ray's object store; who calls this never holds them.
    """

    def __init__(
        self,
        perception: DeploymentHandle,
        bridge: DeploymentHandle,
        timeout_seconds: float,
        calls: PoolCalls | None = None,
    ) -> None:
        super().__init__(_by_reference(bridge), "The bridge to the model", timeout_seconds, calls)
        self._perception = _by_reference(perception)

    async def soft_image(self, media: MediaRef, views: int = 1) -> SoftTokens:
        return await self._projected("image_tokens", "project_image", media, views)

    async def soft_video(self, media: MediaRef, sampling: FrameSampling) -> SoftTokens:
        return await self._projected("video_tokens", "project_video", media, sampling)

    async def soft_audio(self, media: MediaRef) -> SoftTokens:
        return await self._projected("audio_tokens", "project_audio", media)

    async def _projected(self, encode: str, project: str, *arguments: Any) -> SoftTokens:
        def begin() -> Begun:
            tokens = getattr(self._perception, encode).remote(*arguments, **outgoing())
            return getattr(self._handle, project).remote(tokens, **outgoing()), tokens

        result: SoftTokens = await self.answer(begin)
        return result


def _by_reference(handle: DeploymentHandle) -> DeploymentHandle:
    """The handle with results in Ray's object store. The platform's default sends them inside the messages, and one
    that is an argument of another call would come here first.
    """
    return handle.options(_by_reference=True)
