"""Working in-memory stand-ins for the deployments.

Those for the encoders and the engine, and the media they read, have files of their own; all are offered here.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from fake_engine import FakeEngine
from fake_media import (
    DIMENSIONS,
    FAKE_PATCHES,
    FAKE_SIDE,
    FAKE_TOKEN_WIDTH,
    fake_embedding,
    fake_mp4,
    fake_png,
    fake_transcript,
    fake_wav,
)
from fake_perception import FakePerception

from encoders.types import (
    FrameSampling,
)
from fusion.errors import FusionError
from fusion.types import SoftTokens
from search.engine import SearchEngine
from search.filters import Condition
from search.types import (
    Cluster,
    CollectionInfo,
    CollectionMap,
    CollectionSpec,
    Query,
    Row,
    SearchAnswer,
    StoredDocument,
)
from storage.types import MediaRef

__all__ = [
    "DIMENSIONS",
    "FAKE_PATCHES",
    "FAKE_SIDE",
    "FAKE_TOKEN_WIDTH",
    "FakeBridge",
    "FakeEngine",
    "FakePerception",
    "FakeSearchIndex",
    "fake_embedding",
    "fake_mp4",
    "fake_png",
    "fake_transcript",
    "fake_wav",
]


class FakeBridge:
    """``serving.services.Bridge`` over a fake perception: the encoders' tokens through a fixed matrix.

    Each piece gets ``tokens`` of them. Without ``hears`` it has no audio branch. Counts calls by method.
    """

    def __init__(
        self,
        perception: FakePerception,
        decoder: str = "smollm2-135m-instruct",
        width: int = 8,
        tokens: int = 4,
        *,
        hears: bool = False,
    ) -> None:
        self._perception = perception
        self._decoder = decoder
        self._tokens = tokens
        self.hears = hears
        self._projection = np.random.default_rng(5).normal(size=(FAKE_TOKEN_WIDTH, width)).astype(np.float32)
        self.calls: dict[str, int] = {}
        self.asked_views: list[int] = []
        self.asked_sampling: list[FrameSampling] = []
        self.failure: Exception | None = None
        self.wait: asyncio.Event | None = None
        self.is_ready = True
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def soft_image(self, media: MediaRef, views: int = 1) -> SoftTokens:
        self.asked_views.append(views)
        await self._called("soft_image")
        seen = await self._perception.image_tokens(media, views)
        return SoftTokens(self._projected(seen.tokens), self._decoder)

    async def soft_video(self, media: MediaRef, sampling: FrameSampling) -> SoftTokens:
        self.asked_sampling.append(sampling)
        await self._called("soft_video")
        seen = await self._perception.video_tokens(media, sampling)
        return SoftTokens(
            self._projected(seen.tokens),
            self._decoder,
            seen.times_seconds,
            seen.reasons,
            seen.duration_seconds,
            seen.near_duplicates,
        )

    async def soft_audio(self, media: MediaRef) -> SoftTokens:
        await self._called("soft_audio")
        if not self.hears:
            raise FusionError("The bridge has no branch for sound.")
        heard = await self._perception.audio_tokens(media)
        return SoftTokens(self._projected(heard.tokens[None]), self._decoder, (0.0,))

    async def ready(self) -> bool:
        return self.is_ready

    async def _called(self, method: str) -> None:
        self.calls[method] = self.calls.get(method, 0) + 1
        self.asked.set()
        try:
            if self.wait is not None:
                await self.wait.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.failure is not None:
            raise self.failure

    def _projected(
        self, tokens: np.ndarray[Any, np.dtype[np.float32]]
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """``(pieces, patches, width of the encoder)`` to ``(pieces, tokens, width of the decoder)``."""
        return (np.resize(tokens, (len(tokens), self._tokens, FAKE_TOKEN_WIDTH)) @ self._projection).astype(
            np.float32
        )


class FakeSearchIndex:
    """``serving.services.SearchIndex``: the real engine, called directly."""

    def __init__(self, engine: SearchEngine) -> None:
        self._engine = engine

    async def create(self, tenant: str, name: str, spec: CollectionSpec | None) -> CollectionInfo:
        return await asyncio.to_thread(self._engine.create, tenant, name, spec)

    async def describe(self, tenant: str, collection: str) -> CollectionInfo:
        return await asyncio.to_thread(self._engine.describe, tenant, collection)

    async def collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        return await asyncio.to_thread(self._engine.collections, tenant)

    async def drop(self, tenant: str, name: str) -> bool:
        return await asyncio.to_thread(self._engine.drop, tenant, name)

    async def point_alias(self, tenant: str, alias: str, name: str) -> None:
        await asyncio.to_thread(self._engine.point_alias, tenant, alias, name)

    async def drop_alias(self, tenant: str, alias: str) -> bool:
        return await asyncio.to_thread(self._engine.drop_alias, tenant, alias)

    async def add(self, tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        return await asyncio.to_thread(self._engine.add, tenant, collection, rows)

    async def search(self, tenant: str, collection: str, query: Query) -> SearchAnswer:
        return await asyncio.to_thread(self._engine.search, tenant, collection, query)

    async def documents(
        self, tenant: str, collection: str, document_ids: tuple[str, ...]
    ) -> tuple[StoredDocument, ...]:
        return await asyncio.to_thread(self._engine.documents, tenant, collection, document_ids)

    async def scroll(
        self, tenant: str, collection: str, after: str | None, limit: int, where: Condition | None
    ) -> tuple[StoredDocument, ...]:
        return await asyncio.to_thread(self._engine.scroll, tenant, collection, after, limit, where)

    async def known_contents(
        self, tenant: str, collection: str, content_hashes: tuple[str, ...]
    ) -> dict[str, str]:
        return await asyncio.to_thread(self._engine.known_contents, tenant, collection, content_hashes)

    async def clusters(
        self, tenant: str, collection: str, count: int, where: Condition | None
    ) -> tuple[Cluster, ...]:
        return await asyncio.to_thread(self._engine.clusters, tenant, collection, count, where)

    async def layout(
        self, tenant: str, collection: str, count: int, limit: int, where: Condition | None
    ) -> CollectionMap:
        return await asyncio.to_thread(self._engine.layout, tenant, collection, count, limit, where)

    async def delete(self, tenant: str, collection: str, document_id: str) -> int:
        return await asyncio.to_thread(self._engine.delete, tenant, collection, document_id)

    async def delete_media(self, tenant: str, media_ids: tuple[str, ...]) -> int:
        return await asyncio.to_thread(self._engine.delete_media, tenant, media_ids)

    async def vacuum(self) -> int:
        return await asyncio.to_thread(self._engine.vacuum)

    async def ready(self) -> bool:
        return True
