"""Bulk ingest on a Ray cluster: the stages of ``serving.ingest`` as actor pools of a Ray Data pipeline.

One pool fetches, stores and decodes (processors), one encodes (accelerators, if there are any), one actor writes:
rows travel between them through Ray's object store, with its backpressure. All of them use the platform's own
object store and collections directly, beside a platform that may be running: any writer of a collection is correct,
and readers see the rows at once. On more than one machine that takes S3.

A run that was killed is simply begun again: contents that the collection has are skipped before anything of them is
decoded.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext

from deploy.settings import Settings
from encoders.decoding.answers import LookedAt
from encoders.decoding.sandbox import MediaDecoder
from encoders.errors import EncoderError
from encoders.registry import find
from encoders.types import MediaKind, Quality, SeenMedium
from serving.access.stored_tenants import StoredTenants
from serving.access.tenant_store import TenantStore
from serving.catalogue import ModelCatalogue
from serving.concurrency import all_of
from serving.deployments.media_reader import MediaReader
from serving.deployments.perception import PerceptionDeployment
from serving.deployments.search import SearchDeployment
from serving.fetch import MediaFetcher
from serving.ingest.arrival import Arrivals, Brought, Stored
from serving.ingest.encoding import Encoded, Encoding
from serving.ingest.items import IngestOptions, Item, Outcome
from serving.ingest.listing import item_of
from serving.ingest.statistics import IngestStatistics
from serving.ingest.writing import Writing
from serving.limits.shared import counts_over
from serving.limits.stored import StoredBytes
from serving.media_vectors import gate_of
from serving.metrics import GatewayMetrics
from serving.moderation.gate import ModerationGate
from serving.moderation.scoring import Scoring
from serving.perceiver import Perceiver
from storage.assembly import open_storage
from storage.errors import StorageError
from storage.types import MediaRef

__all__ = ["ClusterIngest", "entries_of_paths", "ingest_on_cluster"]

_GROUP_ITEMS = 32
_COMMIT_ITEMS = 512
_COLUMN = "items"


@dataclass(frozen=True, slots=True)
class ClusterIngest:
    """What to ingest into, how, and with how many actors. ``gpus`` is what one encoding actor takes."""

    settings: Settings
    collection: str
    options: IngestOptions
    fetchers: int = 1
    encoders: int = 1
    gpus: float = 0.0

    @property
    def tenant(self) -> str:
        """Whose collection it is."""
        return self.settings.gateway_config().default_tenant


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A stored item, and what its medium looks like decoded."""

    stored: Stored
    looked: LookedAt | None


def ingest_on_cluster(
    wanted: ClusterIngest,
    entries: Iterable[Mapping[str, Any]],
    report: Callable[[Sequence[Outcome]], None] = lambda outcomes: None,
) -> dict[str, float | int]:
    """Ingest entries (as ``serving.ingest.manifests`` reads them, with ``path`` for files that all machines see) on
    the Ray cluster that this process is connected to; the statistics.

    ``report`` is told what became of items as they end. Raises ``RayError`` when a service stays away.
    """
    begun = time.monotonic()
    context = DataContext.get_current()
    context.enable_progress_bars = False
    items = [{_COLUMN: _item(number, dict(entry))} for number, entry in enumerate(entries)]
    blocks = max(wanted.fetchers, -(-len(items) // _GROUP_ITEMS))
    statistics = IngestStatistics()
    if items:
        dataset = (
            ray.data.from_items(items, override_num_blocks=min(blocks, len(items)))
            .map_batches(
                _Fetching,
                batch_size=_GROUP_ITEMS,
                compute=ActorPoolStrategy(size=wanted.fetchers),
                fn_constructor_args=(wanted,),
            )
            .map_batches(
                _Encoding,
                batch_size=_GROUP_ITEMS,
                compute=ActorPoolStrategy(size=wanted.encoders),
                num_gpus=wanted.gpus or None,
                fn_constructor_args=(wanted,),
            )
            .map_batches(
                _Writing,
                batch_size=_COMMIT_ITEMS,
                compute=ActorPoolStrategy(size=1),
                fn_constructor_args=(wanted,),
            )
        )
        for batch in dataset.iter_batches(batch_size=None):
            outcomes = list(batch[_COLUMN])
            statistics.count(outcomes)
            report(outcomes)
    return statistics.final(time.monotonic() - begun)


class _Stage(ABC):
    """An actor with an event loop of its own."""

    def __init__(self, wanted: ClusterIngest) -> None:
        self.wanted = wanted
        self.config = wanted.settings.gateway_config()
        self.storage = open_storage(wanted.settings.storage_config(), self.config.cache_secret)
        self.tenants = StoredTenants(
            TenantStore(self.storage.objects), self.config.tenant_defaults, self.config.access
        )
        self._loop = asyncio.Runner()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        results = self._loop.run(self.work(list(batch[_COLUMN])))
        column = np.empty(len(results), object)
        column[:] = results
        return {_COLUMN: column}

    @abstractmethod
    async def work(self, elements: list[Any]) -> list[Any]:
        """What a batch becomes."""


class _Fetching(_Stage):
    """Items become stored media with their pixels, texts, or outcomes."""

    def __init__(self, wanted: ClusterIngest) -> None:
        super().__init__(wanted)
        config = self.config
        encoders = wanted.settings.encoder_config()
        self._turns = config.ingest.fetch_concurrency
        self._arrivals = Arrivals(
            self.storage.media,
            SearchDeployment(wanted.settings.search_config()),
            MediaFetcher(
                config.limits, hosts=config.media_hosts, allow_private_urls=config.allow_private_urls
            ),
            config.limits,
            config.ingest,
            wanted.tenant,
            wanted.collection,
            wanted.options,
            StoredBytes(self.tenants, counts_over(self.storage.redis), self.storage.objects),
            repeated=True,
        )
        vision = find(encoders.vision_model, encoders.models_dir)
        self._side = int(vision.extra.get("side_pixels", 768))
        self._decoder = MediaDecoder(encoders.limits, workers=encoders.decoder_processes)
        self._reader = MediaReader(self.storage.objects, self.storage.config.spool_folder)

    async def work(self, elements: list[Item]) -> list[_Arrived | Outcome]:
        turns = asyncio.Semaphore(self._turns)

        async def bring(item: Item) -> Brought | Outcome:
            async with turns:
                return await self._arrivals.bring(item)

        brought = await all_of(bring(item) for item in elements)
        outcomes = [one for one in brought if isinstance(one, Outcome)]
        stored, ended = await self._arrivals.store([one for one in brought if isinstance(one, Brought)])
        return [*outcomes, *ended, *await all_of(self._looked_at(one) for one in stored)]

    async def _looked_at(self, stored: Stored) -> _Arrived:
        """Of what cannot be decoded nothing is known here; the next stage finds out what is wrong with it."""
        if stored.ref is None:
            return _Arrived(stored, None)
        try:
            looked = await self._reader.decoded(stored.ref, partial(self._decoder.look, max_side=self._side))
        except (EncoderError, StorageError):
            return _Arrived(stored, None)
        return _Arrived(stored, looked)


class _Encoding(_Stage):
    """Stored items become rows, or outcomes."""

    def __init__(self, wanted: ClusterIngest) -> None:
        super().__init__(wanted)
        self._perception = _Carrying(wanted.settings.encoder_config(), wanted.settings.storage_config())
        catalogue, metrics = ModelCatalogue(self.config), GatewayMetrics()
        perceiver = Perceiver(
            self._perception, self.storage.derived, self.storage.vectors, catalogue, self.config, metrics
        )
        scoring = Scoring(self._perception, perceiver.tasks, catalogue, self.config)
        moderation = ModerationGate(self.tenants, scoring, perceiver, metrics.registry)
        self._encoding = Encoding(
            perceiver,
            gate_of(self.config),
            self.config.ingest,
            wanted.tenant,
            wanted.options,
            self._loop.run(moderation.guard(wanted.tenant, "ingest")),
        )

    async def work(self, elements: list[_Arrived | Outcome]) -> list[Encoded | Outcome]:
        arrived = [one for one in elements if isinstance(one, _Arrived)]
        self._perception.carried = {
            one.stored.ref.id: one.looked
            for one in arrived
            if one.stored.ref is not None and one.looked is not None
        }
        encoded, unfit = await self._encoding.encode([one.stored for one in arrived])
        for stored, _ in unfit:
            if stored.ref is not None and stored.record is None:
                await asyncio.to_thread(self.storage.media.abandon, stored.ref)
        ended = [one for one in elements if isinstance(one, Outcome)]
        return [*encoded, *ended, *(outcome for _, outcome in unfit)]


class _Carrying(PerceptionDeployment):
    """The encoders, which are brought pictures that are decoded already."""

    carried: Mapping[str, LookedAt] = {}

    async def look(
        self, media: tuple[MediaRef, ...], quality: Quality = Quality.FAST, min_side: int = 0
    ) -> tuple[SeenMedium | Exception, ...]:
        return tuple(await all_of(self._carried_or_not(one, quality, min_side) for one in media))

    async def _carried_or_not(
        self, media: MediaRef, quality: Quality, min_side: int
    ) -> SeenMedium | Exception:
        looked = self.carried.get(media.id)
        if looked is None:
            return (await super().look((media,), quality, min_side))[0]
        info = looked.info
        sides = info.width or 0, info.height or 0
        if info.kind is not MediaKind.IMAGE or looked.pixels is None or min(sides) < min_side:
            return SeenMedium(info, None)
        try:
            seen = await self.see(looked.pixels, quality)
        except EncoderError as error:
            return error
        return SeenMedium(info, replace(seen, width=sides[0], height=sides[1]))


class _Writing(_Stage):
    """Rows become outcomes, once they are durable."""

    def __init__(self, wanted: ClusterIngest) -> None:
        super().__init__(wanted)
        self._writing = Writing(
            self.storage.media,
            SearchDeployment(wanted.settings.search_config()),
            self.config.ingest,
            wanted.tenant,
            wanted.collection,
        )

    async def work(self, elements: list[Encoded | Outcome]) -> list[Outcome]:
        encoded = [one for one in elements if isinstance(one, Encoded)]
        ended = [one for one in elements if isinstance(one, Outcome)]
        return ended + (await self._writing.write(encoded) if encoded else [])


def _item(number: int, entry: dict[str, Any]) -> Item:
    path = entry.pop("path", None)
    if path is None:
        return item_of(number, entry)
    return item_of(number, {"filename": Path(path).name, **entry}, partial(_opened, path))


def _opened(path: str) -> BinaryIO:
    return Path(path).open("rb")


def entries_of_paths(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Files, folders and lists as entries, with the ids that ``manymodal index`` gives them."""
    from serving.cli.index_sources import sources_of

    for source in sources_of(paths):
        entry = {**source.entry, "id": source.id}
        if source.problem is not None:
            entry["problem"] = source.problem
        if source.path is not None:
            entry["path"] = str(source.path.resolve())
        yield entry
