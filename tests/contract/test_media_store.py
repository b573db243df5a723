"""The media store on every object store backend: what comes in, reading, healing, collecting, verifying."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest
from fake_object_store import FakeStoreWithHooks, at_step
from media_uploads import Unseekable, keys, upload
from s3_server import S3Server

from storage.artifacts import ArtifactStore
from storage.backends import open_object_store
from storage.config import S3Config, StorageConfig
from storage.errors import CorruptObject, MediaNotFound
from storage.fingerprints import FingerprintIndex
from storage.garbage import GarbageCollector, GarbageReport
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.types import MediaRecord
from storage.uploads import UploadStore
from storage.verify import verify_store

MIB = 1 << 20
TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture(params=["local", "s3"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> StorageConfig:
    s3: S3Config | None = None
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        s3 = server.config
    spool = tmp_path / "spool"
    spool.mkdir()
    return StorageConfig(tmp_path / "store", spool, s3=s3)


@pytest.fixture
def store(config: StorageConfig) -> ObjectStore:
    return open_object_store(config)


@pytest.fixture
def media(store: ObjectStore, config: StorageConfig) -> MediaStore:
    return MediaStore(store, config.spool_folder)


@pytest.mark.parametrize("size", [0, 1000, 8 * MIB + 1])
@pytest.mark.parametrize("seekable", [True, False])
def test_in_and_out(media: MediaStore, store: ObjectStore, size: int, seekable: bool) -> None:
    data = np.random.default_rng(size).bytes(size)
    record = upload(media, data, seekable=seekable, purpose="vision", metadata={"a": 1})
    assert media.get("acme", record.ref.id) == record
    assert media.read(record.ref) == data
    assert b"".join(media.stream(record.ref)) == data
    assert b"".join(media.stream(record.ref, size // 3, size // 2)) == data[size // 3 : size // 2]
    assert media.find_by_content("acme", record.ref.sha256, "vision") == record
    ArtifactStore(store).put("acme", record.ref.sha256, "ab" * 32, b"derived")
    FingerprintIndex(store).add("acme", record.ref.id, "0" * 16)
    assert FingerprintIndex(store).near("acme", "1" + "0" * 15, 1, 5) == [(record.ref.id, 1)]
    assert verify_store(store, media, repair=False).clean
    assert media.delete("acme", record.ref.id).artifact_keys == ("ab" * 32,)
    assert keys(store) == []


def test_a_staged_stream(media: MediaStore, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.intake.STAGED_FROM_BYTES", 9 * MIB)
    data = np.random.default_rng(5).bytes(21 * MIB)
    ref = media.receive("acme", cast(BinaryIO, Unseekable(data)), "x/y", 1 << 30)
    assert ref.sha256 == hashlib.sha256(data).hexdigest()
    assert b"".join(media.stream(ref)) == data
    assert keys(store, "staging/") == []


def test_lists_page_through_many(media: MediaStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: upload(media, bytes([number % 7])), range(40)))
    newest_first = sorted(record.ref.id for record in made)
    for order, wanted in ((True, newest_first), (False, newest_first[::-1])):
        paged: list[str] = []
        while page := media.list("acme", limit=7, after=paged[-1] if paged else None, newest_first=order):
            paged += [record.ref.id for record in page]
        assert paged == wanted


@pytest.mark.parametrize("size", [1000, 9 * MIB])
def test_damage_is_noticed_and_healed(media: MediaStore, store: ObjectStore, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    record = upload(media, data)
    store.put(record.ref.blob_key, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptObject):
        media.read(record.ref)
    with pytest.raises(CorruptObject):
        list(media.stream(record.ref))
    assert not verify_store(store, media, repair=True).clean
    upload(media, data)
    assert media.read(record.ref) == b"".join(media.stream(record.ref)) == data
    assert verify_store(store, media, repair=True).clean


def test_garbage_goes(media: MediaStore, store: ObjectStore) -> None:
    kept = upload(media, b"kept")
    before = keys(store)
    media.receive("acme", io.BytesIO(b"never committed"), "x/y", 100)
    store.put("staging/ff", b"x")

    def later() -> float:
        return time.time() + 1e6

    future = MediaStore(store, clock=later, grace_seconds=1000)
    collector = GarbageCollector(store, future, UploadStore(store, future, later), later, 1000)
    report = collector.collect()
    assert (report.references, report.staged) == (1, 1)
    assert keys(store) == before
    assert collector.collect() == GarbageReport()
    assert media.read(kept.ref) == b"kept"


@pytest.mark.parametrize("step", range(0, 40, 5))
def test_an_upload_at_some_steps_of_a_deletion_survives_it(
    media: MediaStore, store: ObjectStore, step: int
) -> None:
    first = upload(media, b"same")
    second: list[MediaRecord] = []
    hook, _ = at_step(step, lambda: second.append(upload(media, b"same")))
    MediaStore(FakeStoreWithHooks(store, hook)).delete("acme", first.ref.id)
    for record in second:
        assert media.read(record.ref) == b"same"
        media.delete("acme", record.ref.id)
    assert keys(store) == []


class _CountingStore(FakeStoreWithHooks):
    """Knows for every content how often its blob was created and by how many deletions removed."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.lock = threading.Lock()
        self.created: list[str] = []

    def put_if_absent(self, key, data):
        created = self.store.put_if_absent(key, data)
        if created and key.startswith("blobs/"):
            with self.lock:
                self.created.append(key)
        return created


@pytest.mark.timeout(300)
def test_eight_writers_race_with_deletions_and_garbage_collection(
    config: StorageConfig, request: pytest.FixtureRequest
) -> None:
    """A thousand contents, each brought by several writers at once, some deleted again; the collector runs all the
    time with a short grace period. Every acknowledged medium is readable from then on; in the end every content
    has one blob, and nothing dangles.
    """
    on_s3 = config.s3 is not None
    contents, writers = 1000, 8
    grace_seconds = 4.0 if on_s3 else 0.5  # S3 knows times to the second
    stores = [_CountingStore(open_object_store(config)) for _ in range(writers)]
    done = threading.Event()
    barrier = threading.Barrier(writers)
    # never deleted: exactly one writer may create their blobs
    stable = {number for number in range(contents) if number % 3 == 0}

    def content(number: int) -> bytes:
        return number.to_bytes(4, "little") * 25

    def write(writer: int) -> list[MediaRecord]:
        media = MediaStore(stores[writer], config.spool_folder, grace_seconds=grace_seconds)
        chance = np.random.default_rng(writer)
        mine: list[MediaRecord] = []
        barrier.wait()
        # two of the eight bring each content, at about the same time
        for number in range(writer % 4, contents, 4):
            record = upload(media, content(number))
            assert media.read(record.ref) == content(number)
            if number not in stable and chance.random() < 0.5:
                media.delete("acme", record.ref.id)
            else:
                mine.append(record)
            if len(mine) % 10 == 0 and mine:
                old = mine[chance.integers(len(mine))]
                assert media.read(media.get("acme", old.ref.id).ref)
        return mine

    def collect() -> int:
        objects = open_object_store(config)
        media = MediaStore(objects, grace_seconds=grace_seconds)
        uploads = UploadStore(objects, media)
        collector = GarbageCollector(objects, media, uploads, time.time, grace_seconds)
        rounds = 0
        while not done.is_set():
            collector.collect()
            rounds += 1
        return rounds

    with ThreadPoolExecutor(writers + 1) as pool:
        collecting = pool.submit(collect)
        try:
            kept = [record for records in pool.map(write, range(writers)) for record in records]
        finally:
            done.set()
        assert collecting.result() > 1
    store = open_object_store(config)
    media = MediaStore(store)
    created = [key for counting in stores for key in counting.created]
    for number in stable:
        key = next(record.ref.blob_key for record in kept if record.ref.sha256 == _sha256(content(number)))
        assert created.count(key) == 1
    assert {record.ref.id for record in media.list("acme")} == {record.ref.id for record in kept}
    assert {key.rpartition("/")[2] for key in keys(store, "blobs/")} == {r.ref.sha256 for r in kept}
    assert {tuple(key.split("/")[2:]) for key in keys(store, "refs/")} == {
        (record.ref.sha256, record.ref.id) for record in kept
    }
    for record in kept:
        assert hashlib.sha256(media.read(record.ref)).hexdigest() == record.ref.sha256
    report = verify_store(store, media, repair=False)
    assert (report.clean, report.findings) == (True, ())
    assert keys(store, "trash/") == []


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_MEASURED = """
import io, json, os, pickle, resource, sys, threading, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from media_uploads import GeneratedStream
from storage.media import MediaStore
import storage.uploads  # what the platform has loaded anyway

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

media = MediaStore(pickle.loads(bytes.fromhex({store!r})), Path({spool!r}))
# connections, codecs and pools come with the first use
small = media.receive("acme", GeneratedStream(9 << 20), "x/y", 1 << 40)
assert sum(map(len, media.stream(small))) == 9 << 20
peak, done = resident_mib(), threading.Event()
before = peak
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, resident_mib())
watcher = threading.Thread(target=watch)
watcher.start()
ref = media.receive("acme", GeneratedStream({size}), "x/y", 1 << 40)
received = peak
streamed = sum(map(len, media.stream(ref)))
done.set()
watcher.join()
print(json.dumps({{"received_mib": received - before, "streamed_mib": peak - before, "bytes": streamed}}))
"""


def test_a_huge_stream_takes_little_memory(
    config: StorageConfig, store: ObjectStore, tmp_path: Path, media: MediaStore
) -> None:
    """2 GiB locally, 512 MiB on S3, in a process of its own; resident memory grows by less than 150 MB."""
    size = (512 if config.s3 else 2048) * MIB
    code = _MEASURED.format(
        tests=str(TESTS), store=pickle.dumps(store).hex(), spool=str(config.spool_folder), size=size
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=TESTS.parent, timeout=110
    )
    assert finished.returncode == 0, finished.stderr
    measured = json.loads(finished.stdout)
    assert measured["bytes"] == size
    assert max(measured["received_mib"], measured["streamed_mib"]) < 150, measured
    assert list(config.spool_folder.iterdir()) == []
    for info in store.list("blobs/"):  # the disk is not ours alone
        store.delete(info.key)


def test_uploads_and_deletions_of_the_same_bytes_racing(config: StorageConfig) -> None:
    contents = [bytes([number]) * 100 for number in range(3)]

    def work(seed: int) -> list[MediaRecord]:
        media = MediaStore(open_object_store(config))
        chance = np.random.default_rng(seed)
        mine: list[MediaRecord] = []
        for _ in range(15 if config.s3 else 40):
            if mine and chance.random() < 0.5:
                media.delete("acme", mine.pop(chance.integers(len(mine))).ref.id)
            else:
                mine.append(upload(media, contents[chance.integers(3)]))
            for record in mine:
                assert media.read(record.ref)
        return mine

    with ThreadPoolExecutor(6) as pool:
        kept = [record for records in pool.map(work, range(6)) for record in records]
    store = open_object_store(config)
    media = MediaStore(store)
    assert {record.ref.id for record in media.list("acme")} == {record.ref.id for record in kept}
    assert {key.rpartition("/")[2] for key in keys(store, "blobs/")} == {r.ref.sha256 for r in kept}
    assert keys(store, "trash/") == []


def test_a_deleted_medium_is_not_found_by_anything(media: MediaStore) -> None:
    ref = upload(media, b"x").ref
    media.delete("acme", ref.id)
    uses: list[Callable[[], object]] = [lambda: media.get("acme", ref.id), lambda: media.read(ref)]
    for use in [*uses, lambda: media.delete("acme", ref.id), lambda: list(media.stream(ref))]:
        with pytest.raises(MediaNotFound):
            use()
    assert media.find_by_content("acme", ref.sha256, "user_data") is None
