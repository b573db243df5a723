"""What is decoded of media counts against the tenant's limits; what lies in a cache is free."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from encoders.types import MediaInfo, MediaKind
from serving.limits.limiter import TenantLimiter
from storage.types import MediaRef

__all__ = ["DecodingMeter"]

_HEARD = frozenset({"transcript"})
_ONE_PICTURE = frozenset({"thumbnail"})
_HEADERS = frozenset({"probe"})


class DecodingMeter:
    """Counts before something is decoded. ``probe`` gives a medium's header facts, as a rule out of a cache."""

    def __init__(self, limiter: TenantLimiter, probe: Callable[[MediaRef], Awaitable[MediaInfo]]) -> None:
        self._limiter = limiter
        self._probe = probe

    async def count(self, task: str, media: MediaRef, params: Mapping[str, Any]) -> None:
        """A task on a medium is about to be done: one of a picture decodes its pixels, one of a video its seconds
        and the pixels of the frames that ``params`` ask for (``sampling``), one of sound its seconds. Raises
        ``RateLimited``.
        """
        if task in _HEADERS or not await self._limiter.limits_decoding(media.tenant):
            return
        info = await self._probe(media)
        area = (info.width or 0) * (info.height or 0)
        seconds = info.duration_seconds or 0.0
        if info.kind is MediaKind.IMAGE:
            sampling = params.get("sampling")
            await self._limiter.decode(media.tenant, area * (1 if sampling is None else _frames(sampling)))
        elif task in _ONE_PICTURE:
            await self._limiter.decode(media.tenant, area)
        elif info.kind is MediaKind.AUDIO or task in _HEARD:
            await self._limiter.decode(media.tenant, 0, seconds)
        else:
            await self._limiter.decode(media.tenant, area * _frames(params.get("sampling")), seconds)

    async def seen(self, tenant: str, infos: Sequence[MediaInfo]) -> None:
        """Pictures have been decoded whose size nobody knew before. The limit may be passed by them, and is felt by
        what comes next.
        """
        pixels = sum((info.width or 0) * (info.height or 0) for info in infos)
        if pixels and await self._limiter.limits_decoding(tenant):
            await self._limiter.decoded(tenant, pixels)

    async def may_look(self, tenant: str) -> None:
        """Raises ``RateLimited`` when nothing is left to decode pictures with."""
        if await self._limiter.limits_decoding(tenant):
            await self._limiter.decode(tenant, 1)


def _frames(sampling: Any) -> int:
    """How many frames at most a sampling takes; it comes as a cache key has it."""
    return int(sampling.get("max_frames", 1)) if isinstance(sampling, Mapping) else 1
