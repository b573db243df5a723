"""What runs jobs: bounded, not stopped by one damaged job, and quick to let go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from serving.ingest.checkpoint import Checkpoint
from serving.ingest.config import IngestConfig
from serving.ingest.items import IngestOptions, Outcome
from serving.ingest.jobs import Job, JobState, JobStore
from serving.ingest.leases import Leases
from serving.ingest.progress import Progress
from serving.ingest.runner import JobRunner
from storage.errors import StoreUnavailable
from storage.local import LocalObjectStore


class Work:
    """Jobs that last until they are let go."""

    def __init__(self) -> None:
        self.config = IngestConfig()
        self.go = asyncio.Event()
        self.begun: list[str] = []
        self.noted: Sequence[Outcome] = ()

    async def run(self, job: Job, state: JobState, progress: Progress, checkpoint: Checkpoint) -> None:
        self.begun.append(job.id)
        if self.noted:
            await checkpoint(self.noted)
        await self.go.wait()


class House:
    def __init__(self, root: Path) -> None:
        self.objects = LocalObjectStore(root)
        self.store = JobStore(self.objects)
        self.work = Work()
        self.leases = Leases(self.objects, "a", 30.0)
        self.runner = JobRunner(self.store, self.leases, self.work)

    def job(self, tenant: str = "default") -> Job:
        job = Job(self.store.new_id(), tenant, "c", "ingest", IngestOptions(), 3, 1.0)
        self.store.create(job, None)
        return job


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    await house.runner.aclose()


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about")


async def test_many_looks_at_once_begin_no_more_jobs_than_may_run(house: House) -> None:
    for _ in range(12):
        house.job()
    await asyncio.gather(*(house.runner.look() for _ in range(12)))
    for _ in range(50):
        house.runner.wake()
    assert len(house.runner._looking) <= 2
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert len(house.work.begun) == house.work.config.max_running_jobs
    house.work.go.set()
    await house.runner.idle()
    assert len(set(house.work.begun)) == len(house.work.begun) == 12


async def test_a_damaged_job_does_not_keep_the_others_from_running(house: House) -> None:
    jobs = [house.job() for _ in range(3)]
    for job in jobs:
        house.store.save(job, JobState())
    first = next(iter(house.store.pending()))[1]
    house.objects.put(f"ingest/default/{first}.state", b"damaged")
    await house.runner.look()
    house.work.go.set()
    await house.runner.idle()
    assert sorted(house.work.begun) == sorted(job.id for job in jobs if job.id != first)


async def test_a_job_whose_state_cannot_be_read_holds_no_place(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [house.job() for _ in range(3)]
    state = house.store.state
    reads: Counter[str] = Counter()

    def failing(job: Job) -> JobState:
        reads[job.id] += 1
        if reads[job.id] == 2:  # the job is taken, and then the store stays away
            raise StoreUnavailable("The store stays away.")
        return state(job)

    monkeypatch.setattr(house.store, "state", failing)
    monkeypatch.setattr(house.leases, "seconds", 0.0)
    house.work.go.set()
    for _ in jobs:
        await house.runner.look()
        async with asyncio.timeout(10):
            await house.runner.idle()
    assert {job.id for job in jobs} <= set(house.work.begun)


async def test_looking_goes_on_after_any_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.job()
    pending = house.store.pending
    failures = [ValueError("a key of somebody else"), StoreUnavailable("The store stays away.")]

    def failing() -> object:
        if failures:
            raise failures.pop()
        return pending()

    monkeypatch.setattr(house.store, "pending", failing)
    monkeypatch.setattr(house.work, "config", IngestConfig(poll_seconds=0.001))
    house.runner._config = house.work.config
    running = asyncio.create_task(house.runner.run())
    await until(lambda: bool(house.work.begun) or running.done())
    assert house.work.begun
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_queued_job_is_cancelled_at_once_though_others_run(house: House) -> None:
    jobs = [house.job() for _ in range(3)]
    await house.runner.look()
    await until(lambda: len(house.work.begun) == 2)
    (queued,) = [job for job in jobs if job.id not in house.work.begun]
    house.store.cancel(queued)
    house.runner.stop(queued)
    await until(lambda: house.store.state(queued).status == "cancelled")
    assert queued.id not in house.work.begun


async def test_what_no_checkpoint_confirmed_is_not_reported_later(house: House) -> None:
    job = house.job()
    house.store.report(job, 1, [Outcome(0, "d", "s", "failed", "c", "m")])  # then its gateway died
    house.work.noted = [Outcome(0, "d", "s", "indexed", version=1)]
    house.work.go.set()
    await house.runner.look()
    await house.runner.idle()
    assert house.store.state(job).indexed == 1
    assert list(house.store.reported(job, None, 9)) == []


async def test_one_tenants_many_jobs_keep_no_other_waiting(house: House) -> None:
    for _ in range(50):
        house.job("noisy")
    await house.runner.look()
    quiet, third = house.job("quiet"), house.job("third")
    await house.runner.look()
    await until(lambda: len(house.work.begun) == 3)  # beside the noisy one's two
    assert {quiet.id, third.id} & set(house.work.begun)
    house.work.go.set()
    await until(lambda: {quiet.id, third.id} <= set(house.work.begun))
    assert len(house.work.begun) < 20


async def test_the_oldest_job_is_the_next(house: House) -> None:
    now = [1_000_000.0]
    house.store.clock = lambda: now[0]
    jobs = []
    for _ in range(4):
        now[0] += 1
        jobs.append(house.job().id)
    await house.runner.look()
    await until(lambda: len(house.work.begun) == 2)
    assert set(house.work.begun) == set(jobs[:2])  # two at once, whichever has its lease first
