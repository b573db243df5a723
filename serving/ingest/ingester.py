"""Runs of the pipeline over the gateway's parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from fusion.vector_gate import VectorGate
from serving.concurrency import all_of
from serving.config import RequestLimits
from serving.fetch import MediaFetcher
from serving.ingest.arrival import Arrivals, Brought
from serving.ingest.config import IngestConfig
from serving.ingest.encoding import Encoding
from serving.ingest.items import IngestOptions, Item, Outcome
from serving.ingest.pipeline import Pipeline, Report
from serving.ingest.writing import Writing
from serving.limits.stored import StoredBytes
from serving.moderation.gate import Guard, ModerationGate
from serving.perceiver import Perceiver
from serving.services import SearchIndex
from storage.media import MediaStore

__all__ = ["Ingester"]

_BATCH_ATTEMPTS = 3


class Ingester:
    """Ingests lists of items. One per gateway."""

    def __init__(
        self,
        media: MediaStore,
        search: SearchIndex,
        perceiver: Perceiver,
        gate: VectorGate,
        fetcher: MediaFetcher,
        limits: RequestLimits,
        config: IngestConfig,
        moderation: ModerationGate,
        stored: StoredBytes,
    ) -> None:
        self._media = media
        self._search = search
        self._perceiver = perceiver
        self._gate = gate
        self._fetcher = fetcher
        self._limits = limits
        self.config = config
        self._moderation = moderation
        self._stored = stored
        # Somebody waits for the answer: few attempts, and no minutes of waiting.
        self._batch_config = replace(
            config,
            attempts=min(config.attempts, _BATCH_ATTEMPTS),
            max_delay_seconds=min(config.max_delay_seconds, 2.0),
            waits_for_limits=False,
        )

    async def run(
        self,
        tenant: str,
        collection: str,
        items: AsyncIterator[Item],
        options: IngestOptions,
        report: Report,
        *,
        repeated: bool = False,
    ) -> None:
        """Ingest ``items``; see ``Pipeline.run``. ``repeated`` when a run before this may have begun them."""
        guard = await self._moderation.guard(tenant, "ingest")
        stages = self._stages(tenant, collection, options, self.config, guard, repeated=repeated)
        await Pipeline(*stages, self.config).run(items, report)

    async def run_batch(
        self, tenant: str, collection: str, items: Sequence[Item], options: IngestOptions
    ) -> list[Outcome]:
        """Ingest a few items; what became of each, in their order. Raises ``ServiceTrouble``."""
        guard = await self._moderation.guard(tenant, "ingest")
        stages = self._stages(tenant, collection, options, self._batch_config, guard)
        arrivals, encoding, writing = stages
        turns = asyncio.Semaphore(self.config.fetch_concurrency)

        async def bring(item: Item) -> Brought | Outcome:
            async with turns:
                return await arrivals.bring(item)

        arrived = await all_of(bring(item) for item in items)
        outcomes = [one for one in arrived if isinstance(one, Outcome)]
        stored, ended = await arrivals.store([one for one in arrived if isinstance(one, Brought)])
        encoded, unfit = await encoding.encode(stored)
        await arrivals.discard(unfit)
        outcomes += ended + [outcome for _, outcome in unfit] + await writing.write(encoded)
        by_number = {one.number: one for one in outcomes}
        return [by_number[item.number] for item in items]

    def _stages(
        self,
        tenant: str,
        collection: str,
        options: IngestOptions,
        config: IngestConfig,
        guard: Guard | None,
        *,
        repeated: bool = False,
    ) -> tuple[Arrivals, Encoding, Writing]:
        arrivals = Arrivals(
            self._media,
            self._search,
            self._fetcher,
            self._limits,
            config,
            tenant,
            collection,
            options,
            self._stored,
            repeated=repeated,
        )
        encoding = Encoding(self._perceiver, self._gate, config, tenant, options, guard)
        return arrivals, encoding, Writing(self._media, self._search, config, tenant, collection)
