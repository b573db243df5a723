"""The bridge's deployment: encoders' tokens to soft tokens of the decoder, many callers' in shared batches."""

from __future__ import annotations

import asyncio

import numpy as np
from prometheus_client import CollectorRegistry

from encoders.batching.batch_metrics import BatchMetrics
from encoders.batching.micro_batcher import MicroBatcher
from encoders.types import AudioTokens, ImageTokens, Vector, VideoTokens
from fusion.bridge import BranchTokens, load_bridge
from fusion.config import BridgeConfig
from fusion.stretches import stretches
from fusion.types import SoftTokens

__all__ = ["BridgeDeployment"]

_PIECES_AT_ONCE = 8  # of a long video: pictures of others find their turn in between
_TIMEOUT_SECONDS = 120.0
_HEALTH_SECONDS = 20.0  # within Ray's own 30


class BridgeDeployment:
    """Answers with ``SoftTokens``. Loading is done when the constructor returns.

    Raises the errors of ``fusion.errors``, and ``EncoderOverloaded`` when too much waits.
    """

    def __init__(self, config: BridgeConfig) -> None:
        self._bridge = load_bridge(config)
        self._decoder = config.decoder
        self.counts = CollectorRegistry()
        self._batcher: MicroBatcher[BranchTokens, Vector] = MicroBatcher(
            self._bridge,
            config.batches,
            BatchMetrics(self.counts).observer("soft tokens"),
            timeout_seconds=_TIMEOUT_SECONDS,
        )

    async def project_image(self, tokens: ImageTokens) -> SoftTokens:
        """One piece for each view."""
        return SoftTokens(await self._project(BranchTokens("vision", tokens.tokens)), self._decoder)

    async def project_video(self, tokens: VideoTokens) -> SoftTokens:
        """One piece for each frame."""
        return SoftTokens(
            await self._project(BranchTokens("vision", tokens.tokens)),
            self._decoder,
            tokens.times_seconds,
            tokens.reasons,
            tokens.duration_seconds,
            tokens.near_duplicates,
            tokens.repeat_times_seconds,
            tokens.scene_changes_seconds,
        )

    async def project_audio(self, tokens: AudioTokens) -> SoftTokens:
        """One piece for each stretch of sound, as long as the bridge was trained on; the last may be shorter."""
        manifest = self._bridge.manifest
        # Half an hour of sound is a copy of 180 MB: in a thread, so that others are answered meanwhile.
        heard, starts = await asyncio.to_thread(stretches, tokens, manifest.speech_piece_seconds)
        duration = len(tokens.tokens) * tokens.seconds_per_token
        if not starts:
            vectors = np.zeros((0, manifest.queries, manifest.decoder_width), np.float32)
        else:
            vectors = await self._project(heard)
        return SoftTokens(vectors, self._decoder, starts, duration_seconds=duration)

    async def ready(self) -> bool:
        """The constructor has loaded and warmed everything."""
        return True

    async def check_health(self) -> None:
        """Raise when the bridge's thread no longer works. Busy is healthy."""
        branch = next(iter(self._bridge.manifest.branches))
        await self._batcher.check_alive(self._bridge.silence(branch), _HEALTH_SECONDS)

    async def aclose(self) -> None:
        """Stop the queue."""
        await self._batcher.aclose()

    async def _project(self, medium: BranchTokens) -> Vector:
        pieces, lengths = medium.tokens, medium.lengths
        parts = [
            BranchTokens(
                medium.branch,
                pieces[start : start + _PIECES_AT_ONCE],
                None if lengths is None else lengths[start : start + _PIECES_AT_ONCE],
            )
            for start in range(0, max(len(pieces), 1), _PIECES_AT_ONCE)
        ]
        return np.concatenate(await self._batcher.submit(parts))
