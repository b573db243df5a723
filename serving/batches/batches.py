"""Batches as the routes see them: to create, look at and cancel."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serving.batches.config import BatchConfig
from serving.batches.own_app import OwnApplication
from serving.batches.records import Batch, BatchState, BatchStatus
from serving.batches.run import BatchRun
from serving.batches.runner import BatchRunner
from serving.batches.sending import Sender
from serving.batches.store import LEASES_FOLDER, BatchStore
from serving.errors import BatchConflict, InvalidRequest, LimitExceeded, RateLimited
from serving.ingest.leases import Leases
from storage.assembly import Storage
from storage.errors import CorruptObject

__all__ = ["BatchView", "Batches"]

ShownStatus = BatchStatus | Literal["cancelling"]

_FULL_SECONDS = 60
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch, the newest entry of its log, and since when it is being cancelled, if it is."""

    batch: Batch
    state: BatchState
    cancelling_at_seconds: float | None

    @property
    def is_ended(self) -> bool:
        """Whether nothing about it will change any more."""
        return self.state.ended_at_seconds is not None

    @property
    def status(self) -> ShownStatus:
        """OpenAI's: what is being cancelled says so until it is."""
        is_cancelled = self.state.ends_as == "cancelled" or self.state.status in ("validating", "in_progress")
        if self.cancelling_at_seconds is not None and is_cancelled and not self.is_ended:
            return "cancelling"
        return self.state.status


class Batches:
    """One per gateway. What is not a coroutine blocks, but for ``runner``'s."""

    def __init__(self, storage: Storage, config: BatchConfig, max_line_bytes: int) -> None:
        self._media = storage.media
        self._config = config
        clock = storage.media.clock
        owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.store = BatchStore(storage.objects, clock)
        self.application = OwnApplication()
        sender = Sender(config, self.application)
        leases: Leases[Batch] = Leases(
            storage.objects, owner, config.lease_seconds, clock, folder=LEASES_FOLDER
        )

        async def begin(batch: Batch) -> BatchRun:
            state = await asyncio.to_thread(self.store.state, batch)
            return BatchRun(self.store, self._media, sender, config, max_line_bytes, batch, state)

        self.runner = BatchRunner(self.store, leases, config, begin)

    def create(
        self,
        tenant: str,
        endpoint: str,
        input_file_id: str,
        metadata: Mapping[str, str] | None,
        lifetime_seconds: int | None,
    ) -> BatchView:
        """A new batch; ``runner.wake`` begins it.

        Raises ``MediaNotFound``, ``InvalidRequest`` for a file of another purpose, ``LimitExceeded`` for one that
        is too large, ``RateLimited`` for a tenant that has too many unfinished ones.
        """
        record = self._media.get(tenant, input_file_id)
        if record.purpose != "batch":
            raise InvalidRequest(
                "The input file must have been uploaded with the purpose 'batch'.", "input_file_id"
            )
        limit = self._config.max_file_bytes
        if record.ref.size_bytes > limit:
            raise LimitExceeded(f"The input file is larger than {limit} bytes.", "input_file_id")
        unfinished = sum(1 for _ in self.store.unfinished(tenant))
        if unfinished >= self._config.max_unfinished:
            raise RateLimited(
                f"There are {unfinished} unfinished batches already, which is as many as there may be "
                "(max_unfinished). Wait until one is done.",
                _FULL_SECONDS,
            )
        now = self.store.clock()
        expires_at = now + self._config.window_seconds
        batch = Batch(
            self.store.new_id(), tenant, endpoint, input_file_id, now, expires_at, lifetime_seconds, metadata
        )
        self.store.create(batch)
        return BatchView(batch, BatchState(), None)

    def view(self, tenant: str, batch_id: str) -> BatchView:
        """A batch as it stands. Raises ``BatchNotFound``."""
        return self._view(self.store.get(tenant, batch_id))

    def views(self, tenant: str, after: str | None, limit: int) -> list[BatchView]:
        """A tenant's batches, newest first; one that cannot be read is in nobody's way."""
        views: list[BatchView] = []
        for batch in self.store.newest_first(tenant, after):
            try:
                views.append(self._view(batch))
            except CorruptObject:
                _LOG.exception("The log of %s is damaged; the batch is left out of lists.", batch.id)
            if len(views) == limit:
                break
        return views

    def cancel(self, tenant: str, batch_id: str) -> BatchView:
        """Ask for a batch's end; ``runner.notice`` sees to it. Raises ``BatchNotFound``, ``BatchConflict``."""
        view = self.view(tenant, batch_id)
        if view.is_ended or view.state.status == "finalizing":
            raise BatchConflict(f"Cannot cancel a batch with status '{view.state.status}'.")
        self.store.cancel(view.batch)
        return self._view(view.batch)

    async def forget_tenant(self, tenant: str) -> int:
        """Remove all of a tenant's batches, those under way too; how many there were. Their output is files like
        any others. A second call finishes what one left that was broken off.
        """
        found = await asyncio.to_thread(self.store.ids_of, tenant)
        for batch_id in found:
            await asyncio.to_thread(self.store.forget, tenant, batch_id)
        await self.runner.drop(tenant)
        for batch_id in await asyncio.to_thread(self.store.ids_of, tenant):  # what runs here wrote meanwhile
            await asyncio.to_thread(self.store.forget, tenant, batch_id)
        return len(found)

    def _view(self, batch: Batch) -> BatchView:
        state = self.store.state(batch)
        is_over = state.ended_at_seconds is not None or state.status == "finalizing"
        cancelled_at = state.cancelling_at_seconds if is_over else self.store.cancelled_at(batch)
        return BatchView(batch, state, cancelled_at)
