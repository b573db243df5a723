"""Ingest as the routes see it: jobs to make, look at, cancel and resume, and batches that are done at once."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import BinaryIO

from encoders.decoding.sniff import SNIFF_BYTES
from search.errors import AliasConflict, CollectionNotFound
from serving.errors import IngestJobConflict, InvalidRequest, RateLimited, ServiceUnavailable
from serving.ingest.ingester import Ingester
from serving.ingest.items import IngestOptions, Item, Outcome
from serving.ingest.jobs import Job, JobKind, JobState, JobStore
from serving.ingest.leases import Leases
from serving.ingest.listing import write_list
from serving.ingest.manifests import ManifestFormat, entries_of, format_of
from serving.ingest.retries import ServiceTrouble
from serving.ingest.runner import JobRunner
from serving.ingest.work import JobWork
from serving.services import SearchIndex
from serving.spooling import open_spool, written
from storage.assembly import Storage
from storage.types import MediaRecord

__all__ = ["Ingest", "JobView"]

_STOPPING_SECONDS = 3.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class JobView:
    """A job, its last checkpoint, and whether it is being stopped."""

    job: Job
    state: JobState
    is_stopping: bool


class Ingest:
    """One per gateway. What is not a coroutine blocks."""

    def __init__(self, storage: Storage, search: SearchIndex, ingester: Ingester) -> None:
        self._media = storage.media
        self._search = search
        self._ingester = ingester
        self._config = ingester.config
        clock = storage.media.clock
        owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.store = JobStore(storage.objects, clock)
        self._leases = Leases(storage.objects, owner, self._config.lease_seconds, clock)
        self.runner = JobRunner(self.store, self._leases, JobWork(ingester, self.store, search))

    def begin(
        self, tenant: str, collection: str, entries: Iterable[Mapping[str, object]], options: IngestOptions
    ) -> JobView:
        """Make a job of entries; ``runner.wake`` begins it. Raises ``InvalidRequest``."""
        with self._spool() as file:
            total = write_list(entries, file, self._config.max_items)
            job = self._job(tenant, collection, "ingest", options, total)
            self.store.create(job, file)
        return JobView(job, JobState(), False)

    def begin_manifest(
        self,
        tenant: str,
        collection: str,
        file_id: str,
        form: ManifestFormat | None,
        options: IngestOptions,
    ) -> JobView:
        """Make a job of an uploaded list. Raises ``MediaNotFound``, and ``InvalidRequest`` for no list."""
        record = self._media.get(tenant, file_id)
        with self._spool() as file:
            for piece in self._media.stream(record.ref):
                written(file, piece)
            file.seek(0)
            found = form or _format(record, file.read(SNIFF_BYTES))
            file.seek(0)
            return self.begin(tenant, collection, entries_of(file, found), options)

    async def check_reembedding(self, tenant: str, source: str, target: str, alias: str | None) -> None:
        """Refuse now what would fail in the end, after hours. Raises ``CollectionNotFound``, ``AliasConflict``."""
        await self._search.describe(tenant, source)
        if alias is not None and (alias == target or await self._is_collection(tenant, alias)):
            raise AliasConflict(f"There is a collection named '{alias}': an alias needs a name of its own.")

    async def _is_collection(self, tenant: str, name: str) -> bool:
        try:
            return (await self._search.describe(tenant, name)).name == name
        except CollectionNotFound:
            return False

    def begin_reembedding(
        self, tenant: str, source: str, target: str, alias: str | None, options: IngestOptions
    ) -> JobView:
        """Make a job that encodes a collection anew into another one."""
        if source == target:
            raise InvalidRequest("The new collection needs a name of its own.", "collection")
        job = replace(self._job(tenant, target, "reembed", options, None), source=source, alias=alias)
        self.store.create(job, None)
        return JobView(job, JobState(), False)

    def view(self, tenant: str, job_id: str) -> JobView:
        """A job as it stands. Raises ``IngestJobNotFound``."""
        return self._view(self.store.get(tenant, job_id))

    def views(self, tenant: str, after: str | None, limit: int) -> list[JobView]:
        """A tenant's jobs, newest first."""
        return [self._view(job) for job in self.store.list(tenant, after, limit)]

    def reported(
        self, tenant: str, job_id: str, after: tuple[int, int] | None, limit: int
    ) -> Iterator[tuple[int, int, Outcome]]:
        """What was skipped or failed of a job; see ``JobStore.reported``."""
        return self.store.reported(self.store.get(tenant, job_id), after, limit)

    def cancel(self, tenant: str, job_id: str) -> JobView:
        """Ask for a job's end; ``runner.stop`` sees to it. One that has ended stays as it is."""
        view = self.view(tenant, job_id)
        if view.state.ended_at_seconds is None:
            self.store.cancel(view.job)
        return self._view(view.job)

    def resume(self, tenant: str, job_id: str) -> JobView:
        """Let a cancelled or failed job go on where it was. Raises ``IngestJobConflict`` while it is being stopped,
        and when it is completed.
        """
        view = self.view(tenant, job_id)
        job = view.job
        if view.state.status == "completed":
            raise IngestJobConflict("This ingest job is completed; there is nothing left to do.")
        if view.state.ended_at_seconds is None and not view.is_stopping:
            return view
        deadline = time.monotonic() + _STOPPING_SECONDS
        while (lease := self._leases.acquire(job)) is None and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)  # whoever ended it is about to let it go
        if lease is None:
            raise IngestJobConflict("This ingest job is still being stopped. Try again in a moment.")
        try:
            # The state first: whoever finds the job pending must not take it for ended.
            state = replace(self.store.state(job), status="queued", ended_at_seconds=None, error=None)
            self.store.save(job, state)
            self.store.allow(job)
        finally:
            self._leases.release(lease)
        return self._view(job)

    async def batch(
        self, tenant: str, collection: str, items: Sequence[Item], options: IngestOptions
    ) -> list[Outcome]:
        """Ingest a few items now; what became of each, in order. Raises ``ServiceUnavailable``, ``RateLimited``."""
        try:
            return await self._ingester.run_batch(tenant, collection, items, options)
        except ServiceTrouble as error:
            if isinstance(error.__cause__, RateLimited):
                raise error.__cause__ from None
            raise ServiceUnavailable(error.message) from error

    def _view(self, job: Job) -> JobView:
        state = self.store.state(job)
        if state.ended_at_seconds is not None:
            return JobView(job, state, False)
        if state.status == "running" and not self._leases.is_held(job):
            state = replace(state, status="queued")  # its gateway is gone; another one will take it over
        return JobView(job, state, self.store.wants_to_stop(job))

    def _job(
        self, tenant: str, collection: str, kind: JobKind, options: IngestOptions, total: int | None
    ) -> Job:
        now = self.store.clock()
        return Job(self.store.new_id(), tenant, collection, kind, options, total, now)

    def _spool(self) -> closing[BinaryIO]:
        return closing(open_spool(self._media.spool_folder))


def _format(record: MediaRecord, head: bytes) -> ManifestFormat:
    found = format_of(record.filename or "", head)
    if found is None:
        raise InvalidRequest(
            "The file is no list that is known: CSV, JSON lines, parquet, or one address a line. "
            "Say which with 'format'.",
            "file_id",
            "invalid_manifest",
        )
    return found
