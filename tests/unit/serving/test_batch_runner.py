"""What runs batches: tenants by turns, one gateway at a time, and ended when somebody says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from serving.batches.config import BatchConfig
from serving.batches.records import Batch, BatchState, EndStatus
from serving.batches.runner import BatchRunner
from serving.batches.store import LEASES_FOLDER, BatchStore
from serving.ingest.leases import Leases
from storage.errors import StoreUnavailable
from storage.local import LocalObjectStore

CONFIG = BatchConfig(running_batches=5, running_per_tenant=2, lease_seconds=0.3, poll_seconds=0.02)


class Run:
    """Lasts until it is let go."""

    def __init__(self, house: House, batch: Batch) -> None:
        self._house = house
        self._batch = batch
        house.begun.append(batch)

    async def go(self) -> None:
        if self._house.failure is not None:
            raise self._house.failure
        await self._house.hold.wait()
        await self.end("completed")

    async def end(self, status: EndStatus) -> None:
        self._house.ended.append((self._batch.id, status))
        state = BatchState(status=status, ended_at_seconds=self._house.store.clock())
        self._house.store.append(self._batch, state)

    async def keep(self) -> None:
        self._house.kept.append(self._batch.id)


class House:
    """A gateway."""

    def __init__(self, root: Path, name: str = "a") -> None:
        self.objects = LocalObjectStore(root)
        self.store = BatchStore(self.objects)
        self.hold = asyncio.Event()
        self.failure: Exception | None = None
        self.begun: list[Batch] = []
        self.ended: list[tuple[str, str]] = []
        self.kept: list[str] = []
        leases: Leases[Batch] = Leases(self.objects, name, CONFIG.lease_seconds, folder=LEASES_FOLDER)

        async def begin(batch: Batch) -> Run:
            return Run(self, batch)

        self.runner = BatchRunner(self.store, leases, CONFIG, begin)

    def batch(self, tenant: str = "default", expires_at_seconds: float = 1e12) -> Batch:
        batch = Batch(self.store.new_id(), tenant, "/v1/embeddings", "file-1", 1.0, expires_at_seconds, None)
        self.store.create(batch)
        return batch


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


async def test_a_tenant_with_many_batches_keeps_nobody_waiting(house: House) -> None:
    made = []
    for _ in range(6):
        made.append(house.batch("noisy").id)
        await asyncio.sleep(0.002)
    for tenant in ("ann", "bob"):
        house.batch(tenant)
    await house.runner.look()
    await until(lambda: len(house.begun) == 4)
    assert Counter(batch.tenant for batch in house.begun) == {"noisy": 2, "ann": 1, "bob": 1}
    assert [batch.id for batch in house.begun if batch.tenant == "noisy"] == made[:2], "not the oldest first"
    await house.runner.look()
    assert len(house.begun) == 4
    house.hold.set()
    await house.runner.idle()
    assert len(house.ended) == 8
    assert list(house.store.unfinished()) == []


async def test_no_more_run_than_may(house: House) -> None:
    for number in range(8):
        house.batch(f"tenant{number}")
    for _ in range(4):
        house.runner.wake()
    await until(lambda: len(house.begun) == CONFIG.running_batches)
    await house.runner.look()
    assert len(house.begun) == CONFIG.running_batches


async def test_a_batch_is_another_gateways_once_its_own_is_gone(tmp_path: Path, house: House) -> None:
    other = House(tmp_path, "b")
    batch = house.batch()
    await house.runner.look()
    await until(lambda: bool(house.begun))
    await asyncio.sleep(2 * CONFIG.lease_seconds)  # it is renewed
    await other.runner.look()
    assert other.begun == []
    await house.runner.aclose()
    assert house.kept == [batch.id]
    await other.runner.look()
    await until(lambda: bool(other.begun))
    other.hold.set()
    await other.runner.idle()
    assert other.ended == [(batch.id, "completed")]
    assert house.ended == []


async def test_what_another_gateway_is_told_is_noticed(tmp_path: Path, house: House) -> None:
    other = House(tmp_path, "b")
    cancelled, removed = house.batch("ann"), house.batch("bob")
    await house.runner.look()
    await until(lambda: len(house.begun) == 2)
    other.store.cancel(cancelled)
    other.store.forget("bob", removed.id)
    await house.runner.idle()
    assert house.ended == [(cancelled.id, "cancelled")]
    assert [info.key for info in house.objects.list("") if removed.id in info.key] == []
    assert list(house.store.unfinished()) == []


async def test_one_that_is_removed_while_its_end_is_written_leaves_nothing(house: House) -> None:
    batch = house.batch()
    append = house.store.append

    def removed_before(batch: Batch, state: BatchState) -> BatchState | None:
        house.store.forget(batch.tenant, batch.id)
        return append(batch, state)

    house.store.append = removed_before
    house.hold.set()
    await house.runner.look()
    await house.runner.idle()
    assert house.ended == [(batch.id, "completed")]
    assert [info.key for info in house.objects.list("")] == []


async def test_a_batch_that_waits_its_turn_is_cancelled_at_once(house: House) -> None:
    for _ in range(3):
        house.batch()
    await house.runner.look()
    await until(lambda: len(house.begun) == CONFIG.running_per_tenant)
    running = {batch.id for batch in house.begun}
    (waiting,) = (batch for batch in house.store.newest_first("default", None) if batch.id not in running)
    house.store.cancel(waiting)
    house.runner.notice(waiting)
    await until(lambda: house.ended == [(waiting.id, "cancelled")])


async def test_a_batch_whose_time_is_over_before_it_begins_expires(house: House) -> None:
    batch = house.batch(expires_at_seconds=2.0)
    await house.runner.look()
    await house.runner.idle()
    assert house.ended == [(batch.id, "expired")]


async def test_one_that_cannot_be_read_is_in_nobodys_way(house: House) -> None:
    damaged, gone, good = house.batch(), house.batch(), house.batch()
    house.objects.put(f"batches/default/records/{damaged.id}.json", b"{}")
    house.objects.delete(f"batches/default/records/{gone.id}.json")
    house.hold.set()
    await house.runner.look()
    await house.runner.idle()
    assert house.ended == [(good.id, "completed")]
    assert list(house.store.unfinished()) == [("default", damaged.id)]


async def test_an_interrupted_batch_is_taken_up_again(house: House) -> None:
    batch = house.batch()
    house.failure = StoreUnavailable("away")
    await house.runner.look()
    await house.runner.idle()
    assert (len(house.begun), house.ended) == (1, [])
    house.failure = None
    house.hold.set()
    running = asyncio.create_task(house.runner.run())
    await until(lambda: house.ended == [(batch.id, "completed")])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_batches_that_ended_long_ago_are_forgotten(house: House) -> None:
    now = 1e11  # objects are older than this: only such are looked at
    house.store.clock = lambda: now
    old, young, unfinished = house.batch(), house.batch(), house.batch()
    lost = house.batch(expires_at_seconds=now - CONFIG.retention_seconds - 1.0)
    house.objects.delete(f"batch-pending/default/{lost.id}")
    for batch, age in ((old, 1.0), (young, -1.0)):
        ended_at = now - CONFIG.retention_seconds - age
        house.store.append(batch, BatchState(status="completed", ended_at_seconds=ended_at))
        house.store.finish(batch)
    running = asyncio.create_task(house.runner.run())
    gone = (old.id, lost.id)
    await until(lambda: not any(one in info.key for info in house.objects.list("") for one in gone))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert {batch.id for batch in house.store.newest_first("default", None)} == {young.id, unfinished.id}
