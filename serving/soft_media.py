"""Media as soft tokens of the decoder, through the cache of what was bridged before."""

from __future__ import annotations

from dataclasses import asdict

from encoders.types import FrameSampling, ModelSpec
from fusion.types import SoftTokens
from serving.config import ServedBridge
from serving.perception_tasks import PerceptionTasks
from serving.services import Bridge
from storage.types import MediaRef

__all__ = ["SoftMedia"]


class SoftMedia:
    """Asks the bridge. ``tokens`` is how many stand for one view, frame or stretch of sound; ``hears``: the bridge
    takes sound, ``sees``: it takes pictures. ``pictures`` is how many of a request may stand in the places of
    pictures, ``None`` where they need none.
    """

    def __init__(self, bridge: Bridge, served: ServedBridge, tasks: PerceptionTasks) -> None:
        self.tokens = served.queries
        self.hears = served.speech is not None
        self.sees = served.vision is not None
        self.pictures = served.pictures
        self._bridge = bridge
        self._tasks = tasks
        self._vision = _identity(served, served.vision)
        self._speech = _identity(served, served.speech)

    async def image(self, media: MediaRef, views: int) -> tuple[SoftTokens, str]:
        """Those of a picture and of up to ``views - 1`` tiles of it, and the tier."""
        return await self._tasks.run(
            "soft",
            media,
            self._vision,
            {"views": views},
            SoftTokens,
            lambda: self._bridge.soft_image(media, views),
        )

    async def video(self, media: MediaRef, sampling: FrameSampling) -> tuple[SoftTokens, str]:
        """Those of sampled frames, and the tier."""
        return await self._tasks.run(
            "soft",
            media,
            self._vision,
            {"sampling": asdict(sampling)},
            SoftTokens,
            lambda: self._bridge.soft_video(media, sampling),
        )

    async def audio(self, media: MediaRef) -> tuple[SoftTokens, str]:
        """Those of a sound, and the tier."""
        return await self._tasks.run(
            "soft", media, self._speech, {}, SoftTokens, lambda: self._bridge.soft_audio(media)
        )


def _identity(served: ServedBridge, encoder: ModelSpec | None) -> tuple[str, str, str]:
    """Soft tokens are made by the encoder and the bridge, for one decoder: all three are in the key."""
    if encoder is None:
        return (served.name, served.revision, served.decoder)
    return (
        f"{encoder.name}+{served.name}",
        f"{encoder.revision}+{served.revision}",
        f"{encoder.preprocessing}+{served.decoder}",
    )
