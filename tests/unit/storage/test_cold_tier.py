"""Cold blobs of the local store: moved, read, replaced, copied and removed like any other, whatever happens
meanwhile.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.errors import ObjectNotFound, StoreUnavailable
from storage.filesystem import FileSystem
from storage.local import LocalObjectStore
from storage.types import TierPolicy

OLD = "blobs/t/sha256/ab/cd/old"
AT_ONCE = TierPolicy(cold_after_days=0)
DAY_SECONDS = 24 * 3600


def open_store(folder: Path, files: FileSystem | None = None) -> LocalObjectStore:
    return LocalObjectStore(folder / "store", folder / "disk" / "cold", files)


def age(folder: Path, key: str, days: float) -> None:
    os.utime(folder / "store" / "objects" / key, (time.time() - days * DAY_SECONDS,) * 2)


def cold_files(folder: Path) -> list[Path]:
    return [path for path in (folder / "disk" / "cold").rglob("*") if path.is_file()]


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    """A store with one cold blob."""
    store = open_store(tmp_path)
    store.put(OLD, b"0123456789")
    store.put("files/t/old", b"x")
    store.put("blobs/t/young", b"young")
    for key in (OLD, "files/t/old"):
        age(tmp_path, key, 40)
    age(tmp_path, "blobs/t/young", 29)
    store.apply_tiers(TierPolicy(warm_after_days=1, cold_after_days=30))
    return store


def test_only_old_blobs_become_cold(store: LocalObjectStore, tmp_path: Path) -> None:
    assert [(info.key, info.size_bytes, info.tier) for info in store.list("")] == [
        (OLD, 10, "cold"),
        ("blobs/t/young", 5, "hot"),
        ("files/t/old", 1, "hot"),
    ]
    info = store.head(OLD)
    assert info.tier == "cold"
    assert info.modified_at_seconds == pytest.approx(time.time() - 40 * DAY_SECONDS, abs=600)
    assert store.get(OLD) == b"0123456789"
    with store.open(OLD, 3, 4) as stream:
        assert stream.read() == b"3456"
    [content] = cold_files(tmp_path)
    assert content.read_bytes() == b"0123456789"
    assert content.relative_to(tmp_path / "disk" / "cold").as_posix().startswith(OLD)
    assert list((tmp_path / "store" / "staging").iterdir()) == []
    store.apply_tiers(TierPolicy(cold_after_days=30))
    assert cold_files(tmp_path) == [content]
    store.apply_tiers(TierPolicy(warm_after_days=1))  # a directory knows no warm tier
    assert store.head("blobs/t/young").tier == "hot"


def test_a_cold_blob_is_taken_replaced_and_deleted(store: LocalObjectStore, tmp_path: Path) -> None:
    assert not store.put_if_absent(OLD, b"other")
    store.put("blobs/t/other", b"x")
    assert not store.copy_if_absent("blobs/t/other", OLD)
    store.put(OLD, b"replaced")
    assert (store.get(OLD), store.head(OLD).tier) == (b"replaced", "hot")
    assert cold_files(tmp_path) == []
    store.apply_tiers(AT_ONCE)
    assert (store.get(OLD), store.head(OLD).tier) == (b"replaced", "cold")
    for _ in range(2):
        store.delete(OLD)
        with pytest.raises(ObjectNotFound):
            store.get(OLD)
    assert {path.name.split("~")[0] for path in cold_files(tmp_path)} == {"other", "young"}


def test_copies_of_a_cold_blob_are_cold_and_live_on_their_own(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    before = time.time()
    assert store.copy_if_absent(OLD, "trash/t/old/nonce")
    assert not store.copy_if_absent(OLD, "trash/t/old/nonce")
    info = store.head("trash/t/old/nonce")
    assert info.tier == "cold"
    assert info.modified_at_seconds > before - 5
    store.delete(OLD)
    assert store.get("trash/t/old/nonce") == b"0123456789"
    assert store.copy_if_absent("trash/t/old/nonce", OLD)
    store.delete("trash/t/old/nonce")
    assert store.get(OLD) == b"0123456789"
    assert len(cold_files(tmp_path)) == 1


def test_an_open_stream_outlives_move_and_removal(store: LocalObjectStore) -> None:
    with store.open(OLD) as cold, store.open("blobs/t/young") as hot:
        store.apply_tiers(AT_ONCE)
        store.delete(OLD)
        store.delete("blobs/t/young")
        assert (cold.read(), hot.read()) == (b"0123456789", b"young")


def test_without_a_cold_folder_nothing_moves(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path / "store")
    store.put(OLD, b"x")
    store.apply_tiers(AT_ONCE)
    assert store.head(OLD).tier == "hot"


def test_a_cold_folder_that_is_not_mounted(store: LocalObjectStore, tmp_path: Path) -> None:
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    for use in (store.get, store.open, store.head):
        with pytest.raises(StoreUnavailable, match="Mount"):
            use(OLD)
    with pytest.raises(StoreUnavailable, match="Mount"):
        list(store.list("blobs/"))
    with pytest.raises(StoreUnavailable, match="Mount"):
        store.copy_if_absent(OLD, "trash/copy")
    assert store.get("files/t/old") == b"x"
    (tmp_path / "elsewhere").rename(tmp_path / "disk")
    assert store.get(OLD) == b"0123456789"
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    store.delete(OLD)  # what is lost can be let go of
    with pytest.raises(ObjectNotFound):
        store.head(OLD)


def test_what_happens_while_a_blob_is_moved_wins(tmp_path: Path) -> None:
    """A blob replaced or deleted between the copying and the swap must neither come back nor change back."""

    class Meddling(FileSystem):
        def link_symbolic(self, content: Path, path: Path) -> None:
            super().link_symbolic(content, path)
            other.delete("blobs/deleted")
            other.put("blobs/replaced", b"new")
            other.delete("blobs/rewritten")
            other.put_if_absent("blobs/rewritten", b"old")

    other = open_store(tmp_path)
    store = open_store(tmp_path, Meddling())
    for name in ("deleted", "replaced", "rewritten"):
        store.put(f"blobs/{name}", b"old")
    store.apply_tiers(AT_ONCE)
    assert {info.key: info.tier for info in store.list("")} == {
        "blobs/replaced": "hot",
        "blobs/rewritten": "hot",
    }
    assert store.get("blobs/replaced") == b"new"
    assert cold_files(tmp_path) == []
    assert list((tmp_path / "store" / "staging").iterdir()) == []


def test_movers_and_writers_at_once(tmp_path: Path) -> None:
    stop = threading.Event()
    key = "blobs/busy"
    bodies = [bytes([number]) * 5000 for number in range(4)]

    def move() -> None:
        store = open_store(tmp_path)
        while not stop.is_set():
            store.apply_tiers(AT_ONCE)

    def read() -> None:
        store = open_store(tmp_path)
        while not stop.is_set():
            try:
                assert store.get(key) in bodies
                assert store.head(key).size_bytes == 5000
            except ObjectNotFound:
                pass

    def write() -> None:
        store = open_store(tmp_path)
        for number in range(60):
            body = bodies[number % 4]
            store.put(key, body)
            assert store.get(key) == body
            store.copy_if_absent(key, "trash/copy")
            assert store.get("trash/copy") in bodies
            store.delete("trash/copy")
            store.delete(key)
            for _ in range(3):
                with pytest.raises(ObjectNotFound):
                    store.get(key)
            assert store.put_if_absent(key, body)

    with ThreadPoolExecutor(4) as pool:
        helpers = [pool.submit(move), pool.submit(move), pool.submit(read)]
        try:
            pool.submit(write).result(timeout=60)
        finally:
            stop.set()
        for helper in helpers:
            helper.result(timeout=60)
    store = open_store(tmp_path)
    store.delete(key)
    store.apply_tiers(AT_ONCE)
    assert cold_files(tmp_path) == []


def test_a_full_cold_disk_leaves_the_blob_hot(tmp_path: Path) -> None:
    class Full(FileSystem):
        def write(self, file: BinaryIO, data: bytes) -> None:
            if "/disk/cold/" in file.name:
                raise OSError(28, "No space left on device")
            super().write(file, data)

    store = open_store(tmp_path, Full())
    store.put(OLD, b"x")
    with pytest.raises(StoreUnavailable, match="full"):
        store.apply_tiers(AT_ONCE)
    assert (store.get(OLD), store.head(OLD).tier) == (b"x", "hot")
    assert cold_files(tmp_path) == []


def test_cold_files_that_a_crash_left_are_swept(store: LocalObjectStore, tmp_path: Path) -> None:
    [content] = cold_files(tmp_path)
    orphan = content.with_name("old~0123456789abcdef")
    orphan.write_bytes(b"copied, then the power went")
    (content.parent / "README").write_bytes(b"not ours")
    store.apply_tiers(TierPolicy(cold_after_days=30))
    assert orphan.exists()  # another process may be about to link it
    cold = store._cold
    assert cold is not None
    cold.sweep(time.time() + 60, lambda key: store._cold_target(tmp_path / "store" / "objects" / key))
    assert {path.name for path in cold_files(tmp_path)} == {content.name, "README"}
    assert store.get(OLD) == b"0123456789"
