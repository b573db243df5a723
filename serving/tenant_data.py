"""Removing all that is kept of one tenant: what it brought, what was made of it, and what was asked about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final

from redis.asyncio import Redis

from serving.batches.batches import Batches
from serving.errors import IngestJobConflict, IngestJobNotFound, ServiceUnavailable
from serving.ingest.ingest import Ingest
from serving.inline_memo import InlineMemo
from serving.services import SearchIndex
from storage.assembly import Storage
from storage.errors import CorruptObject
from storage.keys import check_tenant, tenant_tag
from storage.redis import RedisCache

__all__ = ["TENANT_FOLDERS", "TenantData", "TenantDataRemoved"]

TENANT_FOLDERS: Final = (
    # Records first: none is left without what it names for longer than a pass takes.
    "files",
    "responses",
    "batches",
    "batch-leases",
    "batch-pending",
    "ingest",
    "ingest-reports",
    "ingest-leases",
    "ingest-pending",
    "uploads",
    "parts",
    "fingerprints",
    "refs",
    "derived",
    "digests",
    "blobs",
    "quarantine",
    "trash",
    "usage",
)
"""Folders of the object store below which a tenant's objects lie in a folder of its name."""

_ENDINGS = {"files": ".json", "responses": ".json", "uploads": ".json"}
_PASSES = 5
_BATCH = 512
_THREADS = 16
_STOPPING_SECONDS = 15.0
_LOOK_SECONDS = 0.1
_SCAN_COUNT = 1000
_ALWAYS_THERE = "default"  # a collection that is not listed while it has no rows


@dataclass(frozen=True, slots=True)
class TenantDataRemoved:
    """How much there was. ``objects`` are all objects of the store. What was cached is counted in this gateway's
    memory and in Redis; ``None`` where Redis did not answer: there it stays until its time to live ends.
    """

    collections: int
    ingest_jobs: int
    batches: int
    responses: int
    files: int
    uploads: int
    objects: int
    cached_in_memory: int
    cached_in_redis: int | None


class TenantData:
    """Removes a tenant's data. Keys, settings and the audit log are the operator's and stay. One per gateway.

    Every step may be done again: after a failure or a crash a second call finishes what the first one began.
    """

    def __init__(
        self,
        storage: Storage,
        search: SearchIndex,
        ingest: Ingest,
        batches: Batches,
        memo: InlineMemo,
        secret: bytes,
    ) -> None:
        self._storage = storage
        self._search = search
        self._ingest = ingest
        self._batches = batches
        self._memo = memo
        self._secret = secret

    async def remove(self, tenant: str) -> TenantDataRemoved:
        """Remove everything; how much there was.

        Requests of the tenant's that are under way should have ended: while they go on writing,
        ``ServiceUnavailable`` is raised after some passes. ``IngestJobConflict`` when an ingest job does not stop
        in time.
        """
        check_tenant(tenant)
        jobs = await self._stop_ingest(tenant)
        batches = await self._batches.forget_tenant(tenant)
        collections = await self._drop_collections(tenant)
        counts = await asyncio.to_thread(self._sweep, tenant)
        # Rows that a request wrote meanwhile; its media are gone.
        collections += await self._drop_collections(tenant)
        self._memo.forget_tenant(tenant)
        tag = tenant_tag(self._secret, tenant)
        in_memory = await asyncio.to_thread(self._storage.derived.forget_under, tag)
        redis = self._storage.redis
        return TenantDataRemoved(
            collections=collections,
            ingest_jobs=jobs,
            batches=batches,
            responses=counts["responses"],
            files=counts["files"],
            uploads=counts["uploads"],
            objects=counts["objects"],
            cached_in_memory=in_memory,
            cached_in_redis=0 if redis is None else await _forget_in_redis(redis, tag),
        )

    async def _stop_ingest(self, tenant: str) -> int:
        """Stop what runs: its next commit would bring rows back. How many jobs there are."""
        deadline = time.monotonic() + _STOPPING_SECONDS
        for job_id in await asyncio.to_thread(self._pending, tenant):
            try:
                view = await asyncio.to_thread(self._ingest.cancel, tenant, job_id)
            except (IngestJobNotFound, CorruptObject):
                continue  # nobody can run it
            self._ingest.runner.stop(view.job)
        while pending := await asyncio.to_thread(self._running, tenant):
            if time.monotonic() > deadline:
                raise IngestJobConflict(
                    f"{len(pending)} ingest jobs of this tenant have not stopped yet. Try again in a moment."
                )
            await asyncio.sleep(_LOOK_SECONDS)
        return await asyncio.to_thread(self._count, f"ingest/{tenant}/", ".json")

    def _pending(self, tenant: str) -> list[str]:
        prefix = f"ingest-pending/{tenant}/"
        return [info.key.removeprefix(prefix) for info in self._storage.objects.list(prefix)]

    def _running(self, tenant: str) -> list[str]:
        """Pending jobs that have a record; the others are leftovers."""
        running = []
        for job_id in self._pending(tenant):
            try:
                self._ingest.store.get(tenant, job_id)
            except (IngestJobNotFound, CorruptObject):
                continue
            running.append(job_id)
        return running

    async def _drop_collections(self, tenant: str) -> int:
        names = [info.name for info in await self._search.collections(tenant)]
        dropped = [await self._search.drop(tenant, name) for name in dict.fromkeys([*names, _ALWAYS_THERE])]
        return sum(dropped)

    def _count(self, prefix: str, ending: str) -> int:
        return sum(1 for info in self._storage.objects.list(prefix) if info.key.endswith(ending))

    def _sweep(self, tenant: str) -> dict[str, int]:
        """Delete below all folders, until a pass finds nothing: then nothing was written while it ran.

        A request that is writing has then either written nothing yet, and finds what it needs missing or writes all
        of it, or is over.
        """
        counts = dict.fromkeys(("objects", *_ENDINGS), 0)
        with ThreadPoolExecutor(_THREADS, "tenant-data") as pool:
            for _ in range(_PASSES):
                found = 0
                for folder in TENANT_FOLDERS:
                    for keys in self._batches_of(f"{folder}/{tenant}/"):
                        if folder in _ENDINGS:
                            counts[folder] += sum(key.endswith(_ENDINGS[folder]) for key in keys)
                        list(pool.map(self._storage.objects.delete, keys))
                        found += len(keys)
                counts["objects"] += found
                if found == 0:
                    return counts
        raise ServiceUnavailable(
            "Requests of this tenant go on storing things. Wait until they have ended, or revoke its keys, and "
            "try again."
        )

    def _batches_of(self, prefix: str) -> Iterator[Sequence[str]]:
        keys = (info.key for info in self._storage.objects.list(prefix))
        while batch := list(islice(keys, _BATCH)):
            yield batch


async def _forget_in_redis(redis: RedisCache, prefix: str) -> int | None:
    """Take all keys that begin with ``prefix`` out of Redis; how many, or ``None`` when it did not answer."""
    cursor, removed = 0, 0
    while True:

        async def step(client: Redis, name: Callable[[str], str], at: int = cursor) -> tuple[int, int]:
            following, keys = await client.scan(at, match=name(prefix) + "*", count=_SCAN_COUNT)
            if keys:
                await client.unlink(*keys)
            return int(following), len(keys)

        answer = await redis.run(step)
        if answer is None:
            return None
        cursor, found = answer
        removed += found
        if cursor == 0:
            return removed
