"""One task of the encoders on one medium, through the cache of what was done before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from encoders.errors import EncoderOverloaded
from encoders.types import ModelSpec
from fusion.types import SoftTokens
from serving.artifact_codec import Artifact, decode_artifact, encode_artifact
from serving.catalogue import ServedModel
from serving.config import GatewayConfig
from serving.errors import PerceptionTimeout
from serving.fair_queue import FairQueue
from serving.metrics import GatewayMetrics
from serving.patience import patience
from storage.derived import DerivedCache
from storage.keys import artifact_key
from storage.types import MediaRef, modality_of

__all__ = ["CODEC_VERSION", "PerceptionTasks", "identity_of"]

CODEC_VERSION = 4
"""Part of every key: raise it when the stored form of a result changes."""

Kind = TypeVar("Kind")
Count = Callable[[str, MediaRef, Mapping[str, Any]], Awaitable[None]]

_KEPT_FREE = 0.25  # of the turns at the encoders, for tenants who come while one has all others
_MAX_BEFORE_VOICE = 4  # it says one text after the other, first come first served
_MAX_WAITING_FOR_VOICE = 64
_LARGE_BYTES = 1 << 20  # soft tokens of a video are tens of megabytes, for which the event loop does not wait

_log = logging.getLogger("manymodal.gateway")


class PerceptionTasks:
    """Looks up or computes. One per gateway: ``slots`` bounds how many tasks are computed at once, and tenants take
    turns at them. ``count`` is told of each task that is about to be computed, and may refuse. ``voice`` are the
    turns of texts that are about to be said, each until its first sound.
    """

    def __init__(self, derived: DerivedCache, config: GatewayConfig, metrics: GatewayMetrics) -> None:
        self.derived = derived
        at_once, waiting = config.limits.perceptions_at_once, config.limits.perceptions_waiting
        self.slots = FairQueue(at_once, waiting, _busy, kept_free=int(at_once * _KEPT_FREE))
        self.voice = FairQueue(_MAX_BEFORE_VOICE, _MAX_WAITING_FOR_VOICE, _voice_busy, kept_free=1)
        metrics.queues.watch("encoders", self.slots)
        metrics.queues.watch("voice", self.voice)
        self.count: Count | None = None
        self._metrics = metrics
        self._secret = config.cache_secret
        self._timeout_seconds = config.limits.perception_timeout_seconds

    async def run(
        self,
        task: str,
        media: MediaRef,
        identity: tuple[str, str, str],
        params: Mapping[str, Any],
        kind: type[Kind],
        ask: Callable[[], Awaitable[Artifact]],
    ) -> tuple[Kind, str]:
        """The result and the tier that had it (``miss``: computed by ``ask``).

        ``identity`` is name, revision and preprocessing of the models that make it, ``params`` is everything else
        that changes it. Raises ``PerceptionTimeout``, and what ``ask`` raises.
        """

        async def compute() -> bytes:
            if self.count is not None:
                await self.count(task, media, params)
            try:
                async with patience(self._timeout_seconds), self.slots.turn(media.tenant):
                    with self._metrics.time_stage(f"perceive_{task}"):
                        made = await ask()
                        if isinstance(made, SoftTokens):
                            return await asyncio.to_thread(encode_artifact, made)
                        return encode_artifact(made)
            except TimeoutError as error:
                raise self.too_slow() from error

        key = self.key(task, media, identity, params)
        modality = modality_of(media.content_type)
        data, tier = await self.derived.get_or_compute(media.tenant, media.sha256, key, modality, compute)
        try:
            artifact = await _decoded(data, kind)
        except msgspec.MsgspecError as error:
            if tier == "miss":
                raise
            _log.warning("A stored artifact (%s) cannot be read and is computed again: %s", task, error)
            tier = "miss"
            data = await self.derived.recompute(media.tenant, media.sha256, key, modality, compute)
            artifact = await _decoded(data, kind)
        self._metrics.cache.labels(task, tier).inc()
        return artifact, tier

    def key(
        self, task: str, media: MediaRef, identity: tuple[str, str, str], params: Mapping[str, Any]
    ) -> str:
        """The cache key of a task on a medium."""
        return artifact_key(
            self._secret,
            media.tenant,
            media.sha256,
            task,
            *identity,
            {**params, "codec": CODEC_VERSION},
        )

    def too_slow(self) -> PerceptionTimeout:
        """The error of encoders that take too long."""
        return PerceptionTimeout(
            f"The media could not be read within {self._timeout_seconds:g} seconds; the encoders are busy. "
            "Please try again."
        )


def _busy() -> Exception:
    return EncoderOverloaded("The encoders are busy with other media. Please try again shortly.")


def _voice_busy() -> Exception:
    return EncoderOverloaded("The voice is busy with other texts. Please try again shortly.")


async def _decoded(data: bytes, kind: type[Kind]) -> Kind:
    if len(data) < _LARGE_BYTES:
        return decode_artifact(data, kind)
    return await asyncio.to_thread(decode_artifact, data, kind)


def identity_of(*models: ServedModel) -> tuple[str, str, str]:
    """Name, revision and preprocessing of the models that make a result, for its cache key."""
    specs: list[ModelSpec] = [model.spec for model in models if model.spec is not None]
    return (
        "+".join(spec.name for spec in specs),
        "+".join(spec.revision for spec in specs),
        "+".join(spec.preprocessing for spec in specs),
    )
