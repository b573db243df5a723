"""Garbage collection: takes what nobody needs, and never what an upload, however slow, will need."""

from __future__ import annotations

import io
import itertools
import os
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from fake_object_store import Crash, FakeStoreWithHooks, at_every_step, at_step
from media_uploads import keys, upload

from storage.artifacts import ArtifactStore
from storage.errors import StoreUnavailable
from storage.fingerprints import FingerprintIndex
from storage.garbage import GarbageCollector, GarbageReport
from storage.keys import blob_key, digests_key, record_key, reference_prefix
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.uploads import UploadStore

GRACE_SECONDS = 1000.0
NOTHING = GarbageReport()


class Clock:
    """The real time, moved on at will: objects' own times are real."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def media(store: LocalObjectStore, clock: Clock) -> MediaStore:
    return MediaStore(store, clock=clock, grace_seconds=GRACE_SECONDS)


def collector(store: ObjectStore, clock: Clock) -> GarbageCollector:
    media = MediaStore(store, clock=clock, grace_seconds=GRACE_SECONDS)
    return GarbageCollector(store, media, UploadStore(store, media, clock), clock, GRACE_SECONDS)


def test_what_is_needed_stays_however_old(media: MediaStore, store: LocalObjectStore, clock: Clock) -> None:
    data = bytes(9 << 20)
    records = [upload(media, data), upload(media, b"small"), upload(media, b"small", tenant="other")]
    ArtifactStore(store).put("acme", records[0].ref.sha256, "ab" * 32, b"derived")
    FingerprintIndex(store).add("acme", records[0].ref.id, "0" * 16)
    before = keys(store)
    clock.ahead_seconds = 1e8
    assert collector(store, clock).collect() == NOTHING
    assert keys(store) == before


def test_garbage_of_every_sort_goes_once_it_is_old(
    media: MediaStore, store: LocalObjectStore, clock: Clock
) -> None:
    kept = upload(media, b"kept")
    before = keys(store)
    received = media.receive("acme", io.BytesIO(b"never committed"), "x/y", 100)
    shared = media.receive("acme", io.BytesIO(b"kept"), "x/y", 100)
    gone = "0" * 64
    store.put(blob_key("acme", gone), b"blob without reference")
    for sha256 in ("1" * 64, gone):
        store.put(f"derived/acme/{sha256}/{'ab' * 32}", b"derived")
        store.put(digests_key("acme", sha256), b"digests")
        store.put(f"quarantine/acme/{sha256}/ff", b"bad")
    FingerprintIndex(store).add("acme", "file-" + "0" * 32, "0" * 16)
    store.put("staging/ff", b"staged")
    store.put(f"trash/acme/{gone}/ff", b"trash")
    full = keys(store)
    assert collector(store, clock).collect() == NOTHING
    assert keys(store) == full
    clock.ahead_seconds = 4000
    report = collector(store, clock).collect()
    assert keys(store) == before
    assert report.references == 2
    assert all(asdict(report)[what] for what in ("trash", "blobs", "leftovers", "staged")), report
    assert collector(store, clock).collect() == NOTHING
    assert media.read(kept.ref) == b"kept"
    assert received.id != shared.id


def test_strange_objects_are_left_alone(store: LocalObjectStore, clock: Clock) -> None:
    strange = ["blobs/x", "blobs/acme/x", "derived/x", "digests/x", "fingerprints/x", "files/x", "refs/x"]
    strange += ["refs/acme/x/y", "quarantine/x", "trash/x", "search/acme/x"]
    for key in strange:
        store.put(key, b"x")
    clock.ahead_seconds = 1e8
    collector(store, clock).collect()
    left = set(keys(store))
    assert {"blobs/x", "blobs/acme/x", "files/x", "refs/x", "refs/acme/x/y", "search/acme/x"} <= left


def test_expired_uploads_are_swept(media: MediaStore, store: LocalObjectStore, clock: Clock) -> None:
    uploads = UploadStore(store, media, clock)
    pending = uploads.create("acme", "a.bin", "user_data", 4)
    uploads.add_part("acme", pending.id, io.BytesIO(b"abcd"), 10)
    assert collector(store, clock).collect() == NOTHING
    clock.ahead_seconds = 3 * 24 * 3600
    assert collector(store, clock).collect().uploads > 0
    assert keys(store) == []


@pytest.mark.parametrize("seconds", [GRACE_SECONDS / 2, GRACE_SECONDS * 3])
def test_a_slow_upload_is_committed_if_its_bytes_are_still_there(
    media: MediaStore, store: LocalObjectStore, clock: Clock, seconds: float
) -> None:
    ref = media.receive("acme", io.BytesIO(b"slow"), "x/y", 100)
    clock.ahead_seconds = seconds
    record = media.commit(ref, filename=None)  # no collector ran meanwhile
    collector(store, clock).collect()
    assert media.read(media.get("acme", record.ref.id).ref) == b"slow"
    assert keys(store, "refs/") == [reference_prefix("acme", ref.sha256) + ref.id]


def test_an_upload_slower_than_the_grace_period_fails_cleanly_once_collected(
    media: MediaStore, store: LocalObjectStore, clock: Clock
) -> None:
    ref = media.receive("acme", io.BytesIO(b"slow"), "x/y", 100)
    clock.ahead_seconds = GRACE_SECONDS * 2
    collector(store, clock).collect()
    with pytest.raises(StoreUnavailable, match="too long"):
        media.commit(ref, filename=None)
    assert keys(store) == []


class SlowUpload:
    """A medium received two grace periods ago, not committed yet; with ``others``, another one of its content."""

    def __init__(self, root: Path, clock: Clock, others: bool) -> None:
        clock.ahead_seconds = 0
        self.store = LocalObjectStore(root)
        self._clock = clock
        self._plain = self._opened(self.store)
        self._other = upload(self._plain, b"slow") if others else None
        self._ref = self._plain.receive("acme", io.BytesIO(b"slow"), "x/y", 100)
        self._committed = False
        clock.ahead_seconds = GRACE_SECONDS * 2

    def _opened(self, store: ObjectStore) -> MediaStore:
        return MediaStore(store, clock=self._clock, grace_seconds=GRACE_SECONDS)

    def commit(self, store: ObjectStore) -> None:
        with suppress(StoreUnavailable):
            self._opened(store).commit(self._ref, filename=None)
            self._committed = True

    def delete_other(self) -> None:
        if self._other is not None:
            self._plain.delete("acme", self._other.ref.id)
            self._other = None

    def check(self) -> None:
        """What was acknowledged is there, and nothing of what was not."""
        self.delete_other()
        if self._committed:
            assert self._plain.read(self._plain.get("acme", self._ref.id).ref) == b"slow"
            self._plain.delete("acme", self._ref.id)
        assert self._plain.list("acme") == []
        collector(self.store, self._clock).collect()
        assert keys(self.store) == []


@pytest.mark.parametrize("others", [False, True])
def test_collection_at_any_step_of_a_slow_commit(tmp_path: Path, clock: Clock, others: bool) -> None:
    """Either the commit fails and nothing stays, or what it acknowledged is there. With ``others``, a medium of the
    same content is deleted right after the collection.
    """

    def attempt(step: int) -> bool:
        slow = SlowUpload(tmp_path / str(step), clock, others)

        def collect() -> None:
            collector(slow.store, clock).collect()
            slow.delete_other()

        hook, seen = at_step(step, collect)
        slow.commit(FakeStoreWithHooks(slow.store, hook))
        collector(slow.store, clock).collect()
        slow.check()
        return seen() > step

    assert at_every_step(attempt) >= 6


@pytest.mark.parametrize("others", [False, True])
def test_a_slow_commit_at_any_step_of_a_collection(tmp_path: Path, clock: Clock, others: bool) -> None:
    def attempt(step: int) -> bool:
        slow = SlowUpload(tmp_path / str(step), clock, others)

        def commit() -> None:
            slow.commit(slow.store)
            slow.delete_other()

        hook, seen = at_step(step, commit)
        collector(FakeStoreWithHooks(slow.store, hook), clock).collect()
        slow.check()
        return seen() > step

    assert at_every_step(attempt) > 20


def test_a_slow_commit_and_then_a_deletion_at_pairs_of_steps_of_a_collection(
    tmp_path: Path, clock: Clock
) -> None:
    """The collector has found the reference too old; the upload writes it anew and is acknowledged; the collector
    removes it and has not looked again yet when the only other medium of the content is deleted.
    """

    def attempt(first: int, second: int) -> None:
        slow = SlowUpload(tmp_path / f"{first}-{second}", clock, others=True)
        seen = itertools.count()

        def hook(when: str, name: str, key: str) -> None:
            step = next(seen)
            if step == first:
                slow.commit(slow.store)
            if step == second:
                slow.delete_other()

        collector(FakeStoreWithHooks(slow.store, hook), clock).collect()
        slow.check()

    for first in range(24):
        for second in range(first, first + 12):
            attempt(first, second)


def test_a_reference_that_was_written_anew_since_it_was_listed_stays(tmp_path: Path, clock: Clock) -> None:
    store = LocalObjectStore(tmp_path / "store")
    plain = MediaStore(store, clock=clock, grace_seconds=GRACE_SECONDS)
    ref = plain.receive("acme", io.BytesIO(b"slow"), "x/y", 100)
    key = reference_prefix("acme", ref.sha256) + ref.id
    os.utime(tmp_path / "store" / "objects" / key, (0, 0))

    def refresh(when: str, name: str, listed: str) -> None:
        if (when, name, listed) == ("after", "list", "refs/"):
            store.put(key, b"")

    assert collector(FakeStoreWithHooks(store, refresh), clock).collect().references == 0
    assert plain.read(ref) == b"slow"


def test_a_crash_at_any_step_of_a_collection_harms_nothing(tmp_path: Path, clock: Clock) -> None:
    def attempt(step: int) -> bool:
        clock.ahead_seconds = 0
        store = LocalObjectStore(tmp_path / str(step))
        plain = MediaStore(store, clock=clock, grace_seconds=GRACE_SECONDS)
        kept = upload(plain, b"kept")
        plain.receive("acme", io.BytesIO(b"kept"), "x/y", 100)
        plain.receive("acme", io.BytesIO(b"garbage"), "x/y", 100)
        clock.ahead_seconds = GRACE_SECONDS * 5

        def crash() -> None:
            raise Crash

        hooked = FakeStoreWithHooks(store, at_step(step, crash)[0])
        with suppress(Crash):
            collector(hooked, clock).collect()
        assert plain.read(kept.ref) == b"kept"
        clock.ahead_seconds *= 10
        for _ in range(2):
            collector(store, clock).collect()
        assert plain.list("acme") == [kept]
        assert len(keys(store)) == 3
        return hooked.is_dead

    assert at_every_step(attempt) > 40


def test_a_record_that_comes_between_the_two_looks_gets_its_reference_back(
    media: MediaStore, store: LocalObjectStore
) -> None:
    record = upload(media, b"x")
    assert not media.drop_reference("acme", record.ref.sha256, record.ref.id)
    assert keys(store, "refs/") == [reference_prefix("acme", record.ref.sha256) + record.ref.id]
    store.delete(record_key("acme", record.ref.id))
    assert media.drop_reference("acme", record.ref.sha256, record.ref.id)
    assert keys(store) == []


def test_a_reference_is_put_back_when_nobody_can_say_whether_it_has_a_record(store: LocalObjectStore) -> None:
    record = upload(MediaStore(store), b"x")

    def down(when: str, name: str, key: str) -> None:
        if name == "get":
            raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        MediaStore(FakeStoreWithHooks(store, down)).drop_reference("acme", record.ref.sha256, record.ref.id)
    assert keys(store, "refs/") == [reference_prefix("acme", record.ref.sha256) + record.ref.id]
