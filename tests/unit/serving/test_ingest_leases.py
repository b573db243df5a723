"""Leases over an object store: one holder at a time, taken over after their end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.ingest.items import IngestOptions, Outcome
from serving.ingest.jobs import Job, JobState, JobStore
from serving.ingest.leases import Lease, Leases
from storage.errors import CorruptObject
from storage.local import LocalObjectStore
from storage.types import ObjectInfo

JOB = Job("ingest_" + "0" * 32, "default", "c", "ingest", IngestOptions(), 3, 1.0)


class House:
    def __init__(self, root: Path) -> None:
        self.now = 1000.0
        self.root = root
        self.objects = LocalObjectStore(root)

    def gateway(self, name: str) -> Leases:
        return Leases(self.objects, name, 30.0, lambda: self.now)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_one_holds_it_until_it_expires(house: House) -> None:
    first, second = house.gateway("a"), house.gateway("b")
    lease = first.acquire(JOB)
    assert lease is not None
    assert second.acquire(JOB) is None
    house.now += 29
    assert first.renew(lease)
    house.now += 29
    assert second.acquire(JOB) is None
    house.now += 2
    assert not first.is_held(JOB)
    taken = second.acquire(JOB)
    assert taken is not None
    assert taken.epoch == lease.epoch + 1
    assert not first.renew(lease)
    first.release(lease)  # of what it has lost changes nothing
    assert second.is_held(JOB)
    second.release(taken)
    assert first.acquire(JOB) is not None
    assert len(list(house.objects.list("ingest-leases/"))) == 2  # its own and the one before


def test_of_many_that_want_it_one_gets_it(house: House) -> None:
    gateways = [house.gateway(str(number)) for number in range(8)]
    for _ in range(10):
        with ThreadPoolExecutor(8) as pool:
            got = [lease for lease in pool.map(lambda one: one.acquire(JOB), gateways) if lease is not None]
        assert len(got) == 1
        house.now += 31


def test_who_lists_while_it_changes_hands_does_not_begin_anew(house: House) -> None:
    """A listing may miss what comes and what goes while it is made, but not what stays."""
    first = house.gateway("a").acquire(JOB)
    assert first is not None
    house.now += 31

    class Slow(LocalObjectStore):
        def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectInfo]:
            before = {info.key for info in super().list(prefix, after)}
            if not taken:
                taken.append(house.gateway("b").acquire(JOB))
            yield from (info for info in super().list(prefix, after) if info.key in before)

    taken: list[Lease | None] = []
    late = Leases(Slow(house.root), "c", 30.0, lambda: house.now)
    assert late.acquire(JOB) is None
    assert taken[0] is not None
    assert taken[0].epoch == 2


def test_a_damaged_lease_is_taken_over(house: House) -> None:
    assert house.gateway("a").acquire(JOB) is not None
    (info,) = house.objects.list("ingest-leases/")
    house.objects.put(info.key, b"damaged")
    assert house.gateway("b").acquire(JOB) is not None


def test_jobs_and_states_come_back_as_they_were(house: House) -> None:
    store = JobStore(house.objects, lambda: house.now)
    options = IngestOptions("on", 32, "index", {"album": "one"})
    job = Job(store.new_id(), "default", "c", "reembed", options, None, 5.5, "source", "alias")
    store.create(job, None)
    assert store.get("default", job.id) == job
    assert store.state(job) == JobState()
    state = JobState("running", 7, 3, ((5, 9), (11, 12)), 1, 2, 3, error="x", version=4, after="doc")
    store.save(job, state)
    assert store.state(job) == state
    assert list(store.pending()) == [("default", job.id)]
    store.finish(job)
    store.cancel(job)
    assert store.wants_to_stop(job)
    store.allow(job)
    assert not store.wants_to_stop(job)
    key = f"ingest/default/{job.id}.state"
    house.objects.put(key, house.objects.get(key).replace(b"running", b"stopped"))
    with pytest.raises(CorruptObject):
        store.state(job)
    store.forget(job)
    assert list(house.objects.list("ingest")) == []


def test_reports_show_what_checkpoints_confirm(house: House) -> None:
    store = JobStore(house.objects)
    store.create(JOB, None)
    for number in (1, 2, 3):
        noted = [Outcome(number * 10 + place, "d", "s", "failed", "c", "m") for place in range(3)]
        store.report(JOB, number, noted)
    store.save(JOB, JobState(number=2))
    assert [one.number for _, _, one in store.reported(JOB, None, 99)] == [10, 11, 12, 20, 21, 22]
    assert [one.number for _, _, one in store.reported(JOB, (1, 1), 3)] == [12, 20, 21]
    assert list(store.reported(JOB, (2, 2), 3)) == []


def test_newer_jobs_are_listed_first_and_paged(house: House) -> None:
    store = JobStore(house.objects, lambda: house.now)
    ids = []
    for _ in range(5):
        house.now += 1
        job = Job(store.new_id(), "default", "c", "ingest", IngestOptions(), 1, house.now)
        store.create(job, None)
        ids.insert(0, job.id)
    assert [job.id for job in store.list("default", None, 10)] == ids
    assert [job.id for job in store.list("default", ids[1], 2)] == ids[2:4]
    assert [job.id for job in store.ended_before(9e9)] == []
