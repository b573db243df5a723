"""kill -9 of a writing process at random points, again and again: what was acknowledged is there, whole."""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import media_writer
import numpy as np
import pytest
from doomed_workers import started, worker_server
from media_uploads import keys
from s3_server import S3Server

from storage.artifacts import ArtifactStore
from storage.errors import MediaNotFound
from storage.garbage import GarbageCollector
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.uploads import UploadStore
from storage.verify import verify_store

ROUNDS = {"local": 100, "s3": 20}
_REQUESTS_END_SECONDS = 0.02  # what a dead writer has sent, an S3 server may still do


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    media_writer.make_chunks_small(monkeypatch.setattr)


@pytest.fixture(params=sorted(ROUNDS))
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The store, as a command line names it."""
    if request.param == "local":
        return str(tmp_path / "store")
    server: S3Server = request.getfixturevalue("s3_server")
    return json.dumps(asdict(server.config))


@pytest.fixture
def server(where: str) -> Iterator[subprocess.Popen[str]]:
    with worker_server("media_writer.py", where) as process:
        yield process


class Model:
    """What the writers said."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}
        self.deleting: dict[str, str] = {}
        self.derived: set[str] = set()

    def heard(self, words: list[str]) -> None:
        match words:
            case ["stored", media_id, sha256]:
                self.stored[media_id] = sha256
            case ["deleting", media_id, sha256]:
                self.deleting[media_id] = sha256
                self.stored.pop(media_id, None)
                self.derived.discard(sha256)
            case ["deleted", media_id]:
                del self.deleting[media_id]
            case ["derived", sha256]:
                self.derived.add(sha256)
            case _:
                raise AssertionError(words)


def run_writer(
    server: subprocess.Popen[str], seed: int, lines_heard: int, seconds: float, model: Model
) -> int:
    """Kill a writer a moment after it has said so many things; how many it said."""
    writer, said = started(server, str(seed))
    heard = [next(said) for _ in range(lines_heard)]
    time.sleep(seconds)
    os.kill(writer, signal.SIGKILL)
    heard += said
    for words in heard:
        model.heard(words)
    return len(heard)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("small_chunks")
def test_nothing_acknowledged_is_lost_when_writers_are_killed(
    where: str, server: subprocess.Popen[str]
) -> None:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)
    chance = np.random.default_rng(seed)
    store = media_writer.open_store(where)
    on_s3 = where.startswith("{")
    rounds = ROUNDS["s3" if on_s3 else "local"]
    media = MediaStore(store)
    model = Model()
    done = 0
    # Each count equally often: left to chance, one run in six heard too little to be worth anything.
    for number, lines in enumerate(chance.permutation(np.arange(rounds) % 8)):
        done += run_writer(server, seed + number, int(lines), chance.uniform(0, 0.01), model)
        if on_s3:
            time.sleep(_REQUESTS_END_SECONDS)
        media.blobs.recover()
        check(store, media, model)
        if number % 10 == 9:
            report = verify_store(store, media, repair=False)
            assert (report.clean, report.findings) == (True, ())
            collect(store)
            check(store, media, model)
    assert done > 3 * rounds
    report = verify_store(store, MediaStore(store, clock=later), repair=False)
    assert (report.clean, report.findings) == (True, ())
    for media_id in model.stored:
        media.delete("acme", media_id)
    assert keys(store) == []


def check(store: ObjectStore, media: MediaStore, model: Model) -> None:
    """Everything acknowledged is there; everything that is there is whole."""
    listed = {record.ref.id: record.ref for record in media.list("acme")}
    for media_id, sha256 in model.stored.items():
        assert listed[media_id].sha256 == sha256
    for media_id in model.deleting:  # begun, not acknowledged: either is right, and stays so
        if media_id in listed:
            model.stored[media_id] = listed[media_id].sha256
    model.deleting.clear()
    for media_id, ref in listed.items():
        assert len(media.read(ref)) == ref.size_bytes
        model.stored[media_id] = ref.sha256
        assert media.get("acme", media_id).ref == ref
        assert sum(map(len, media.stream(ref))) == ref.size_bytes
    artifacts = ArtifactStore(store)
    contents = {ref.sha256 for ref in listed.values()}
    for sha256 in contents:
        key, value = media_writer.artifact_of(sha256)
        assert artifacts.get("acme", sha256, key) in ((value,) if sha256 in model.derived else (value, None))
    with pytest.raises(MediaNotFound):
        media.get("acme", "file-" + "0" * 32)


def later() -> float:
    """When nothing of today is young any more. No writer may run meanwhile: to it, this would be no grace."""
    return time.time() + 1e7


def collect(store: ObjectStore) -> None:
    future = MediaStore(store, clock=later)
    collector = GarbageCollector(store, future, UploadStore(store, future, later), later, 3600)
    collector.collect()
    collector.collect()
    used = {record.ref.sha256 for record in MediaStore(store).list("acme")}
    assert {key.rpartition("/")[2] for key in keys(store, "blobs/")} == used
    assert keys(store, "trash/") == []
