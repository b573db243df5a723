"""Runs of the pipeline over the gateway's parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from serving.config import RequestLimits
from serving.fetch import MediaFetcher
from serving.ingest.arrival import Arrivals
from serving.ingest.config import IngestConfig
from serving.ingest.encoding import Encoding
from serving.ingest.items import IngestOptions, Item, Outcome
from serving.ingest.pipeline import Pipeline, Report
from serving.ingest.writing import Writing
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
        fetcher: MediaFetcher,
        limits: RequestLimits,
        config: IngestConfig,
    ) -> None:
        self._media = media
        self._search = search
        self._perceiver = perceiver
        self._fetcher = fetcher
        self._limits = limits
        self.config = config
        # Somebody waits for the answer: few attempts, and no waiting for more rows.
        self._batch_config = replace(
            config,
            attempts=min(config.attempts, _BATCH_ATTEMPTS),
            max_delay_seconds=min(config.max_delay_seconds, 2.0),
            commit_wait_seconds=600.0,
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
        await self._pipeline(tenant, collection, options, self.config, repeated=repeated).run(items, report)

    async def run_batch(
        self, tenant: str, collection: str, items: Sequence[Item], options: IngestOptions
    ) -> list[Outcome]:
        """Ingest a few items; what became of each, in their order. Raises ``ServiceTrouble``."""
        outcomes: dict[int, Outcome] = {}

        async def feed() -> AsyncIterator[Item]:
            for item in items:
                yield item

        async def report(ended: Sequence[Outcome]) -> None:
            outcomes.update((one.number, one) for one in ended)

        await self._pipeline(tenant, collection, options, self._batch_config).run(feed(), report)
        return [outcomes[item.number] for item in items]

    def _pipeline(
        self,
        tenant: str,
        collection: str,
        options: IngestOptions,
        config: IngestConfig,
        *,
        repeated: bool = False,
    ) -> Pipeline:
        return Pipeline(
            Arrivals(
                self._media,
                self._search,
                self._fetcher,
                self._limits,
                config,
                tenant,
                collection,
                options,
                repeated=repeated,
            ),
            Encoding(self._perceiver, config, tenant, options),
            Writing(self._media, self._search, config, tenant, collection),
            config,
        )
