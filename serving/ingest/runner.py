"""Running jobs in a gateway: taking them over by lease, checkpointing after every commit, stopping when told to."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial

from serving.ingest.items import Outcome
from serving.ingest.jobs import Job, JobState, JobStatus, JobStore
from serving.ingest.lease_watch import LeaseLost, keep_up
from serving.ingest.leases import Lease, Leases
from serving.ingest.progress import Progress
from serving.ingest.retries import ServiceTrouble
from serving.ingest.statistics import IngestStatistics
from serving.ingest.work import JobWork
from storage.errors import CorruptObject, StorageError

__all__ = ["JobRunner"]

_LOOKED_AT = 256  # of one tenant
_KEPT_FREE = 1
_JITTER = 0.2
_SWEEP_SECONDS = 3600.0

_log = logging.getLogger("manymodal.gateway")


class _Cancelled(Exception):
    """Somebody cancelled the job: the run ends before its list does."""


class JobRunner:
    """One gateway's jobs. ``run`` looks for work until it is cancelled; ``wake`` makes it look now."""

    def __init__(self, store: JobStore, leases: Leases, work: JobWork) -> None:
        self._store = store
        self._leases = leases
        self._work = work
        self._config = work.config
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tenants: Counter[str] = Counter()  # of those that run
        self._stopping: dict[str, asyncio.Event] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._looks = asyncio.Lock()
        self._swept_at_seconds = 0.0

    async def run(self) -> None:
        """Look for jobs that nobody runs, now and again. When cancelled, give the running ones back."""
        try:
            while True:
                await self._logged(self.look)
                try:
                    await self._sweep()
                except StorageError as error:
                    _log.warning("Ingest jobs could not be swept: %s", error)
                except (
                    Exception
                ) as error:  # the next round may fare better; without one no job would run again
                    _log.error("Ingest jobs could not be swept", exc_info=error)
                pause = self._config.poll_seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
                await asyncio.sleep(pause)
        finally:
            await self.aclose()

    def wake(self) -> None:
        """Look for work soon, in the running event loop."""
        if len(self._looking) > 1:
            return  # one looks, and the next one has not begun
        task = asyncio.create_task(self._logged(self.look), name="ingest-look")
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    def stop(self, job: Job) -> None:
        """See to it at once that somebody cancelled a job."""
        stopping = self._stopping.get(job.id)
        if stopping is not None:
            stopping.set()
            return
        # It may be queued behind jobs that take hours: stopping it needs no turn.
        take_over = partial(self._take_over, job.tenant, job.id)
        task = asyncio.create_task(self._logged(take_over), name="ingest-stop")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def look(self) -> None:
        """Take over pending jobs that nobody holds, as many as may run here."""
        async with self._looks:  # two at once would begin too many
            lines = await asyncio.to_thread(self._lines)
            while lines:
                # Whoever has fewest jobs here is next; one who has none may begin one more than may run.
                tenant = min(lines, key=lambda one: self._tenants[one])
                most = self._config.max_running_jobs + (0 if self._tenants[tenant] else _KEPT_FREE)
                if len(self._running) >= most:
                    return
                await self._take_over(tenant, lines[tenant].pop())
                if lines[tenant]:
                    lines[tenant] = lines.pop(tenant)  # behind its equals
                else:
                    del lines[tenant]

    def _lines(self) -> dict[str, deque[str]]:
        """Pending jobs by tenant, the oldest last; of each tenant the oldest ones only. In no order of tenants."""
        lines: dict[str, deque[str]] = {}
        for tenant, job_id in self._store.pending():
            lines.setdefault(tenant, deque(maxlen=_LOOKED_AT)).append(job_id)  # the newest come first
        tenants = list(lines)
        random.shuffle(tenants)
        return {tenant: lines[tenant] for tenant in tenants}

    async def _take_over(self, tenant: str, job_id: str) -> None:
        if job_id in self._running:
            return
        lease = await asyncio.to_thread(self._take, tenant, job_id)
        if lease is not None:
            self._stopping[job_id] = asyncio.Event()
            self._tenants[tenant] += 1
            self._running[job_id] = asyncio.create_task(self._hold(lease), name=job_id)

    async def idle(self) -> None:
        """Wait until nothing runs here."""
        while tasks := [*self._looking, *self._ending, *self._running.values()]:
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Stop what runs; another gateway goes on with it."""
        tasks = [*self._looking, *self._ending, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _logged(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Do something whose failure must not be the end of looking."""
        try:
            await work()
        except StorageError as error:
            _log.warning("Ingest jobs could not be looked for: %s", error)
        except Exception as error:
            _log.error("Ingest jobs could not be looked for", exc_info=error)

    def _take(self, tenant: str, job_id: str) -> Lease | None:
        try:
            job = self._store.get(tenant, job_id)
        except Exception as error:
            _log.warning("A pending ingest job cannot be read: %s", error)
            return None
        lease = self._leases.acquire(job)
        if lease is None:
            return None
        try:
            if self._store.state(job).ended_at_seconds is None:
                return lease
            self._store.finish(job)  # whoever ended it died before it said so
        except CorruptObject as error:  # the others can be run
            _log.warning("The state of a pending ingest job cannot be read: %s", error)
        self._leases.release(lease)
        return None

    async def _hold(self, lease: Lease) -> None:
        """Run a job while its lease is kept up."""
        job = lease.job
        ended: JobStatus | None = None
        message: str | None = None
        try:
            state = await asyncio.to_thread(self._store.state, job)
            run = _Run(self._store, job, state, self._config.window_items)
            try:
                await self._kept_up(lease, run)
                ended = "completed"
            except _Cancelled:
                ended = "cancelled"
            except LeaseLost:
                pass
            except ServiceTrouble as trouble:
                ended, message = "failed", trouble.message
            except Exception as error:
                _log.error("An ingest job failed", exc_info=error)
                ended, message = "failed", getattr(error, "message", "The job failed unexpectedly.")
            if ended is not None:
                await run.end(ended, message)
                await asyncio.to_thread(self._store.finish, job)
                await asyncio.to_thread(self._leases.release, lease)
        except asyncio.CancelledError:
            await asyncio.to_thread(self._leases.release, lease)
            raise
        except StorageError as error:  # the lease expires, and the job is taken over where it was
            _log.warning("An ingest job could not be ended: %s", error)
        finally:
            if self._running.pop(job.id, None) is not None:
                self._tenants[job.tenant] -= 1
            self._tenants += Counter()  # without those that have none
            self._stopping.pop(job.id, None)
            if ended is not None:
                self.wake()

    async def _kept_up(self, lease: Lease, run: _Run) -> None:
        await self._check(lease.job)
        await run.begin()
        working = asyncio.create_task(self._work.run(lease.job, run.state, run.progress, run.checkpoint))
        noticing, check = self._stopping[lease.job.id], partial(self._check, lease.job)
        watching = asyncio.create_task(keep_up(self._leases, lease, noticing, check))
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            else:
                watching.result()
        finally:
            for task in (working, watching):
                task.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    async def _check(self, job: Job) -> None:
        """Raises ``_Cancelled`` when somebody cancelled the job."""
        if await asyncio.to_thread(self._store.wants_to_stop, job):
            raise _Cancelled

    async def _sweep(self) -> None:
        """Forget jobs that ended long ago."""
        now = self._store.clock()
        if now - self._swept_at_seconds < _SWEEP_SECONDS:
            return
        self._swept_at_seconds = now
        before = now - self._config.retention_seconds
        for job in await asyncio.to_thread(lambda: list(self._store.ended_before(before))):
            await asyncio.to_thread(self._store.forget, job)


class _Run:
    """One run of a job: its checkpoints."""

    def __init__(self, store: JobStore, job: Job, state: JobState, window: int) -> None:
        self._store = store
        self._job = job
        self.state = state
        # The numbers of a scroll are of that scroll: only what all before has ended of is known of another one.
        above = state.done_above if job.kind == "ingest" else ()
        self.progress = Progress(state.done_below, above, window)
        self._seconds_before = state.seconds
        self._begun = store.clock()

    async def begin(self) -> None:
        """Say that it runs."""
        self.state = replace(
            self.state,
            status="running",
            attempts=self.state.attempts + 1,
            started_at_seconds=self._begun,
            processed_before=self.state.processed,
            error=None,
        )
        # What a run before this reported without a checkpoint ends again, and may end otherwise.
        await asyncio.to_thread(self._store.forget_reports, self._job, self.state.number)
        await self._save()

    async def checkpoint(self, outcomes: Sequence[Outcome], after: str | None = None) -> None:
        """Items have ended, durably."""
        self.progress.end(one.number for one in outcomes)
        counted = IngestStatistics(self.state.indexed, self.state.skipped, self.state.failed)
        counted.count(outcomes)
        versions = [one.version for one in outcomes if one.version is not None]
        number = self.state.number + 1
        noted = [one for one in outcomes if one.status != "indexed"]
        await asyncio.to_thread(self._store.report, self._job, number, noted)
        self.state = replace(
            self.state,
            number=number,
            done_below=self.progress.below,
            done_above=self.progress.above(),
            version=max(versions, default=self.state.version),
            after=after or self.state.after,
            indexed=counted.indexed,
            skipped=counted.skipped,
            failed=counted.failed,
        )
        await self._save()

    async def end(self, status: JobStatus, message: str | None) -> None:
        """Say how it ended."""
        self.state = replace(self.state, status=status, error=message, ended_at_seconds=self._store.clock())
        await self._save()

    async def _save(self) -> None:
        now = self._store.clock()
        seconds = self._seconds_before + max(0.0, now - self._begun)
        self.state = replace(self.state, updated_at_seconds=now, seconds=seconds)
        await asyncio.to_thread(self._store.save, self._job, self.state)
