"""Running batches in a gateway: taking them over by lease, tenants by turns, ending them when they must."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import islice

from serving.batches.config import BatchConfig
from serving.batches.records import Batch, EndStatus
from serving.batches.run import BatchRun, LostBatch
from serving.batches.store import BatchStore
from serving.errors import BatchNotFound
from serving.ingest.lease_watch import LeaseLost, keep_up
from serving.ingest.leases import Lease, Leases
from storage.errors import CorruptObject, StorageError

__all__ = ["BatchRunner"]

_LOOKED_AT = 5000
_JITTER = 0.2
_SWEEP_SECONDS = 3600.0
_DROP_SECONDS = 30.0

_log = logging.getLogger("manymodal.gateway")


class _Stop(Exception):
    """A run ends before its batch is answered. ``ends_as`` is ``None`` when that is not the batch's end."""

    def __init__(self, ends_as: EndStatus | None, *, is_gone: bool = False) -> None:
        super().__init__(ends_as, is_gone)
        self.ends_as = ends_as
        self.is_gone = is_gone


class BatchRunner:
    """One gateway's batches. ``run`` looks for work until it is cancelled; ``wake`` makes it look now.

    ``begin`` makes a run of a batch that is held.
    """

    def __init__(
        self,
        store: BatchStore,
        leases: Leases[Batch],
        config: BatchConfig,
        begin: Callable[[Batch], Coroutine[object, object, BatchRun]],
    ) -> None:
        self._store = store
        self._leases = leases
        self._config = config
        self._begin = begin
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tenants: dict[str, str] = {}
        self._noticing: dict[str, asyncio.Event] = {}
        self._aside: set[asyncio.Task[None]] = set()
        self._is_awake = False
        self._looks = asyncio.Lock()
        self._swept_at_seconds = 0.0

    async def run(self) -> None:
        """Look for batches that nobody runs, now and again. When cancelled, give the running ones back."""
        try:
            while True:
                await self._logged(self.look)
                await self._logged(self._sweep)
                pause = self._config.poll_seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
                await asyncio.sleep(pause)
        finally:
            await self.aclose()

    def wake(self) -> None:
        """Look for work soon, in the running event loop."""
        if not self._is_awake:  # else the look that has not begun will see it
            self._is_awake = True
            self._beside(self.look)

    def notice(self, batch: Batch) -> None:
        """See to it at once that a batch was cancelled or removed."""
        noticing = self._noticing.get(batch.id)
        if noticing is not None:
            noticing.set()
        else:  # it may be queued behind others for hours: ending it needs no turn
            self._beside(lambda: self._take_over(batch.tenant, batch.id))

    async def drop(self, tenant: str) -> None:
        """Stop what runs here of a tenant whose batches were removed, and wait until it has."""
        tasks = [self._running[one] for one, owner in self._tenants.items() if owner == tenant]
        for one, owner in self._tenants.items():
            if owner == tenant:
                self._noticing[one].set()
        if tasks:
            await asyncio.wait(tasks, timeout=_DROP_SECONDS)

    async def look(self) -> None:
        """Take over batches that nobody holds, as many as may run here: first of those tenants that have the fewest
        running, and of each the oldest.
        """
        async with self._looks:  # two at once would begin too many
            self._is_awake = False
            found = await asyncio.to_thread(lambda: list(islice(self._store.unfinished(), _LOOKED_AT)))
            waiting: dict[str, list[str]] = defaultdict(list)
            for tenant, batch_id in sorted(found):  # newest first, of each tenant
                if batch_id not in self._running:
                    waiting[tenant].append(batch_id)
            while waiting and len(self._running) < self._config.running_batches:
                running = Counter(self._tenants.values())
                tenant = min(waiting, key=lambda tenant: running[tenant])
                if running[tenant] >= self._config.running_per_tenant:
                    return
                await self._take_over(tenant, waiting[tenant].pop())
                if not waiting[tenant]:
                    del waiting[tenant]

    async def idle(self) -> None:
        """Wait until nothing runs here."""
        while tasks := [*self._aside, *self._running.values()]:
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Stop what runs; another gateway goes on with it."""
        tasks = [*self._aside, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _beside(self, work: Callable[[], Coroutine[object, object, object]]) -> None:
        task = asyncio.create_task(self._logged(work), name="batches")
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _logged(self, work: Callable[[], Coroutine[object, object, object]]) -> None:
        """Do something whose failure must not be the end of looking."""
        try:
            await work()
        except StorageError as error:
            _log.warning("Batches could not be looked after: %s", error)
        except Exception as error:  # the next round may fare better; without one no batch would run again
            _log.error("Batches could not be looked after", exc_info=error)

    async def _take_over(self, tenant: str, batch_id: str) -> None:
        lease = await asyncio.to_thread(self._take, tenant, batch_id)
        if lease is not None:
            self._tenants[batch_id] = tenant
            self._noticing[batch_id] = asyncio.Event()
            self._running[batch_id] = asyncio.create_task(self._hold(lease), name=batch_id)

    def _take(self, tenant: str, batch_id: str) -> Lease[Batch] | None:
        try:
            batch = self._store.get(tenant, batch_id)
        except BatchNotFound:  # who was removing it did not come to the end
            self._store.forget(tenant, batch_id)
            return None
        except CorruptObject as error:  # the others can be run
            _log.warning("The record of a batch cannot be read: %s", error)
            return None
        lease = self._leases.acquire(batch)
        if lease is None:
            return None
        try:
            if self._store.state(batch).ended_at_seconds is None:
                return lease
            self._store.finish(batch)  # whoever ended it died before it said so
        except CorruptObject as error:
            _log.warning("The state of a batch cannot be read: %s", error)
        self._leases.release(lease)
        return None

    async def _hold(self, lease: Lease[Batch]) -> None:
        """Run a batch while its lease is kept up."""
        batch = lease.job
        is_ended = False
        try:
            is_ended = await self._run_to_an_end(lease)
            if is_ended:
                await asyncio.to_thread(self._store.finish, batch)
                await asyncio.to_thread(self._leases.release, lease)
                if await asyncio.to_thread(self._store.wish, batch) == "forget":  # while its end was written
                    await asyncio.to_thread(self._store.forget, batch.tenant, batch.id)
        except LostBatch:
            _log.info("Another gateway goes on with a batch")
        except asyncio.CancelledError:
            await asyncio.to_thread(self._leases.release, lease)
            raise
        except StorageError as error:  # the lease expires, and the batch is taken over where it was
            _log.warning("A batch was interrupted: %s", error)
        except Exception as error:
            _log.error("A batch was interrupted", exc_info=error)
        finally:
            for known in (self._running, self._tenants, self._noticing):
                known.pop(batch.id, None)
            if is_ended:
                self.wake()

    async def _run_to_an_end(self, lease: Lease[Batch]) -> bool:
        """Run it; whether it has come to its end, and not only this gateway's part of it."""
        batch = lease.job
        run = await self._begin(batch)
        try:
            await self._check(batch)  # one that was cancelled before it began does not begin
            await self._watched(lease, run)
        except LeaseLost:
            return False
        except _Stop as stop:
            if stop.is_gone:
                await asyncio.to_thread(self._store.forget, batch.tenant, batch.id)
            elif stop.ends_as is not None:
                await self._ended_early(lease, run, stop.ends_as)
            return stop.ends_as is not None
        return True

    async def _watched(self, lease: Lease[Batch], run: BatchRun) -> None:
        working = asyncio.create_task(run.go())
        noticing, check = self._noticing[lease.job.id], partial(self._check, lease.job)
        watching = asyncio.create_task(keep_up(self._leases, lease, noticing, check))
        is_stopped = False
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            else:
                is_stopped = True
                watching.result()
        finally:
            was_under_way = not working.done()
            for task in (working, watching):
                task.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)
            if was_under_way and not is_stopped:  # this gateway ends
                await run.keep()

    async def _ended_early(self, lease: Lease[Batch], run: BatchRun, status: EndStatus) -> None:
        renewing = asyncio.create_task(self._renew(lease))
        try:
            await run.end(status)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _check(self, batch: Batch) -> None:
        """Raises ``_Stop`` when the batch is cancelled, removed or out of time."""
        wish = await asyncio.to_thread(self._store.wish, batch)
        if wish != "go on":
            raise _Stop("cancelled" if wish == "cancel" else None, is_gone=wish == "forget")
        if self._store.clock() >= batch.expires_at_seconds:
            raise _Stop("expired")

    async def _renew(self, lease: Lease[Batch]) -> None:
        """Hold a batch while its files are written. Should that fail, the log sees to it that one ends it."""
        while True:
            await asyncio.sleep(self._config.lease_seconds / 3)
            await self._logged(lambda: asyncio.to_thread(self._leases.renew, lease))

    async def _sweep(self) -> None:
        """Forget batches that ended long ago."""
        now = self._store.clock()
        if now - self._swept_at_seconds < _SWEEP_SECONDS:
            return
        self._swept_at_seconds = now
        before = now - self._config.retention_seconds
        for batch in await asyncio.to_thread(lambda: list(self._store.ended_before(before))):
            await asyncio.to_thread(self._store.forget, batch.tenant, batch.id)
