"""The bridge that makes of the encoders' tokens what a decoder reads, over handles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.serve.handle import DeploymentHandle

from encoders.types import FrameSampling
from fusion.types import SoftTokens
from serving.origin import outgoing
from serving.pool_calls import PoolBook
from serving.ray_adapter.caller import Begun, Caller, Earlier, given_up
from serving.ray_adapter.perception import SERVICES, by_method, by_reference
from storage.types import MediaRef

__all__ = ["RayBridge"]

_SERVICE = "The bridge to the model"


class RayBridge(Caller):
    """``serving.services.Bridge`` over handles: the encoders' as ``RayPerception`` takes them, and the bridge's.

    The encoders' tokens go from replica to replica through Ray's object store; who calls this never holds them.
    ``book`` keeps the calls of the encoders and of the bridge, each failure where it belongs.
    """

    def __init__(
        self,
        encoders: Mapping[str, DeploymentHandle],
        bridge: DeploymentHandle,
        timeout_seconds: float,
        book: PoolBook | None = None,
    ) -> None:
        kept = book or PoolBook()
        super().__init__(by_reference(bridge), _SERVICE, timeout_seconds, kept.of("bridge", _SERVICE))
        self._encoding = by_method(
            {
                name: (by_reference(handle), kept.of(name, SERVICES[name]), SERVICES[name])
                for name, handle in encoders.items()
            }
        )

    async def soft_image(self, media: MediaRef, views: int = 1) -> SoftTokens:
        return await self._projected("image_tokens", "project_image", media, views)

    async def soft_video(self, media: MediaRef, sampling: FrameSampling) -> SoftTokens:
        return await self._projected("video_tokens", "project_video", media, sampling)

    async def soft_audio(self, media: MediaRef) -> SoftTokens:
        return await self._projected("audio_tokens", "project_audio", media)

    async def _projected(self, encode: str, project: str, *arguments: Any) -> SoftTokens:
        handle, calls, service = self._encoding[encode]
        call = calls.begin(timed=False)
        earlier = Earlier(service, call)

        def begin() -> Begun:
            tokens = earlier.response = getattr(handle, encode).remote(*arguments, **outgoing())
            return getattr(self._handle, project).remote(tokens, **outgoing()), tokens

        try:
            result: SoftTokens = await self.answer(begin, earlier=earlier)
            call.end("answered")
            return result
        finally:
            call.end(given_up())
