"""What has to be done now and then: expired media and responses, garbage (abandoned uploads among it), storage
tiers, deleted rows of search.

Of several gateways one does a round, whoever comes first: a lease in the store keeps the others from it for most of
the interval. All steps are safe beside those of others, so a lease that is lost does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from itertools import groupby, islice

from prometheus_client import CollectorRegistry, Counter

from serving.ingest.leases import Lease, Leases
from serving.limits.stored import StoredBytes
from serving.removal import Remover
from serving.responses.store import ResponseStore
from serving.services import SearchIndex
from storage.assembly import Storage

__all__ = ["Housekeeping", "HousekeepingMetrics"]

_BATCH = 256
_JITTER = 0.2  # of the interval, so that gateways started together do not go on working together

_log = logging.getLogger("manymodal.gateway")


@dataclass(frozen=True, slots=True)
class _Round:
    """What one gateway at a time works on."""

    tenant: str = "all"
    id: str = "round"


class HousekeepingMetrics:
    """What housekeeping counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter("manymodal_housekeeping_runs", "Rounds that were done.", registry=registry)
        self.failures = Counter(
            "manymodal_housekeeping_failures", "Steps that failed.", ("step",), registry=registry
        )
        self.removed = Counter(
            "manymodal_housekeeping_removed", "What was removed or mended.", ("kind",), registry=registry
        )


class Housekeeping:
    """One gateway's rounds. ``run`` goes on until it is cancelled."""

    def __init__(
        self,
        storage: Storage,
        search: SearchIndex,
        remover: Remover,
        responses: ResponseStore,
        stored: StoredBytes,
        metrics: HousekeepingMetrics,
    ) -> None:
        self._storage = storage
        self._search = search
        self._remover = remover
        self._responses = responses
        self._stored = stored
        self._metrics = metrics
        self._leases: Leases[_Round] = Leases(
            storage.objects,
            f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
            storage.config.housekeeping_seconds * (1 - _JITTER),
            storage.media.clock,
            folder="housekeeping-leases",
        )
        self._lease: Lease[_Round] | None = None

    async def run(self) -> None:
        """A round every ``housekeeping_seconds``, unless another gateway has done it; the first look after a random
        part of that.
        """
        interval = self._storage.config.housekeeping_seconds
        await asyncio.sleep(interval * random.random())  # noqa: S311 - no secret
        while True:
            await self._step("lease", self._in_turn)
            await asyncio.sleep(interval * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - no secret

    async def round(self) -> None:
        """Do everything once. A step that fails is logged and counted, and the others are done all the same."""
        for name, work in (
            ("expired", self._expired),
            ("responses", self._responses_expired),
            ("garbage", self._garbage),
            ("tiers", self._tiers),
            ("stored_bytes", self._stored.recount_all),
            ("vacuum", self._vacuum),
        ):
            await self._step(name, work)
            await self._step("lease", self._renew)
        self._metrics.runs.inc()

    async def _in_turn(self) -> None:
        self._lease = await asyncio.to_thread(self._leases.acquire, _Round())
        if self._lease is not None:
            await self.round()
        else:
            await self._step("stored_bytes", self._stored.recount_all)  # of those that were counted here

    async def _renew(self) -> None:
        if self._lease is not None and not await asyncio.to_thread(self._leases.renew, self._lease):
            self._lease = None  # it took so long that another has begun

    async def _step(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        self._metrics.failures.labels(name).inc()
        _log.error("Housekeeping failed: %s", name, exc_info=error)

    def _removed(self, kind: str, count: int) -> None:
        self._metrics.removed.labels(kind).inc(count)

    async def _expired(self) -> None:
        records = (record for record in self._storage.media.expired())
        try:
            while batch := await asyncio.to_thread(lambda: list(islice(records, _BATCH))):
                for tenant, owned in groupby(batch, lambda record: record.ref.tenant):
                    removed = await self._remover.remove_all(
                        tenant, list(owned), lambda error: self._failed("expired", error)
                    )
                    self._removed("expired", removed)
        except Exception:
            await asyncio.to_thread(records.close)  # waits for the reads that are under way
            raise

    async def _responses_expired(self) -> None:
        self._removed("responses", await asyncio.to_thread(self._responses.sweep))

    async def _garbage(self) -> None:
        report = await asyncio.to_thread(self._storage.garbage.collect)
        for kind, count in asdict(report).items():
            self._removed(kind, count)

    async def _tiers(self) -> None:
        # Without days, too: rules of earlier settings go, and what broken-off uploads left on S3.
        await asyncio.to_thread(self._storage.objects.apply_tiers, self._storage.config.tiers)

    async def _vacuum(self) -> None:
        self._removed("search_bytes", await self._search.vacuum())
