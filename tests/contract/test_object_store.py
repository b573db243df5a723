"""What every object store backend must do. A new backend is one more entry in ``BACKENDS``."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.errors import InvalidKey, ObjectNotFound
from storage.local import LocalObjectStore
from storage.objects import ObjectStore

BACKENDS: dict[str, Callable[[Path], ObjectStore]] = {"local": LocalObjectStore}


@pytest.fixture(params=sorted(BACKENDS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return BACKENDS[request.param](tmp_path / "store")


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def test_the_probe_passes_and_leaves_nothing(store: ObjectStore) -> None:
    store.probe()
    assert keys(store) == []


def test_what_was_put_is_read_back(store: ObjectStore) -> None:
    data = bytes(range(256)) * 10_000
    store.put("a/b/c.bin", data)
    assert store.get("a/b/c.bin") == data
    with store.open("a/b/c.bin") as stream:
        assert stream.read(10) == data[:10]
        assert stream.read() == data[10:]
    info = store.head("a/b/c.bin")
    assert (info.key, info.size_bytes) == ("a/b/c.bin", len(data))
    assert info.modified_at_seconds > 1_600_000_000


def test_streams_are_read_from_their_position_to_their_end(store: ObjectStore) -> None:
    stream = io.BytesIO(b"0123456789")
    stream.seek(3)
    store.put("put", stream)
    assert store.get("put") == b"3456789"
    stream.seek(7)
    assert store.put_if_absent("absent", stream)
    assert store.get("absent") == b"789"


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put("empty", b"")
    assert store.get("empty") == b""
    assert store.head("empty").size_bytes == 0
    assert not store.put_if_absent("empty", b"x")


def test_put_replaces_and_an_open_stream_keeps_the_old_bytes(store: ObjectStore) -> None:
    store.put("key", b"old")
    with store.open("key") as stream:
        store.put("key", b"newer")
        assert stream.read() == b"old"
    assert store.get("key") == b"newer"


def test_put_if_absent_never_replaces(store: ObjectStore) -> None:
    assert store.put_if_absent("key", b"first")
    assert not store.put_if_absent("key", b"second")
    assert not store.put_if_absent("key", io.BytesIO(b"third"))
    assert store.get("key") == b"first"
    store.delete("key")
    assert store.put_if_absent("key", b"fourth")
    assert store.get("key") == b"fourth"


def test_missing_objects(store: ObjectStore) -> None:
    store.put("folder/key", b"x")
    for key in ("missing", "folder", "folder/missing", "folder/key/below", "no/such/folder"):
        with pytest.raises(ObjectNotFound):
            store.get(key)
        with pytest.raises(ObjectNotFound):
            store.open(key)
        with pytest.raises(ObjectNotFound):
            store.head(key)
        store.delete(key)
    assert keys(store) == ["folder/key"]


def test_delete(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    assert keys(store) == []
    with pytest.raises(ObjectNotFound):
        store.get("a/b")


def test_list_is_by_string_prefix_and_in_order_of_key(store: ObjectStore) -> None:
    written = ["a-b", "a/b", "a/c/d", "a0", "ab", "b", "a/b.json", "a.b/c", "A"]
    for key in written:
        store.put(key, b"x" * len(key))
    assert keys(store) == sorted(written)
    for prefix in ("", "a", "a/", "a/b", "a/c/", "a0", "b", "zzz", "a/c/d/"):
        assert keys(store, prefix) == sorted(key for key in written if key.startswith(prefix)), prefix
    assert [info.size_bytes for info in store.list("a/c")] == [len("a/c/d")]


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/.hidden", "~", "*", "-rf"),
        *("a b", "a\\b", "a\0b", "ä", "a\n", "x" * 201, "/".join(["abcdefg"] * 200)),
    ],
)
def test_keys_that_no_store_could_hold_are_refused(store: ObjectStore, key: str) -> None:
    for use in (
        lambda: store.put(key, b""),
        lambda: store.put_if_absent(key, b""),
        lambda: store.get(key),
        lambda: store.open(key),
        lambda: store.head(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(InvalidKey):
            use()
    if key not in ("", "a/"):  # as prefixes these are fine
        with pytest.raises(InvalidKey):
            store.list(key)
    assert keys(store) == []


def test_the_longest_key_is_held(store: ObjectStore) -> None:
    key = "/".join(["x" * 200] * 5)
    store.put(key, b"x")
    assert keys(store) == [key]


class BrokenStream(io.BytesIO):
    """A client that goes away in the middle of an upload."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(4)
        if not data:
            raise ConnectionResetError("gone")
        return data


@pytest.mark.parametrize("existing", [True, False])
def test_a_stream_that_fails_stores_nothing_and_its_error_passes(store: ObjectStore, existing: bool) -> None:
    if existing:
        store.put("key", b"before")
    with pytest.raises(ConnectionResetError):
        store.put("key", BrokenStream(b"12345678"))
    if existing:
        assert store.get("key") == b"before"
        return
    with pytest.raises(ConnectionResetError):
        store.put_if_absent("key", BrokenStream(b"12345678"))
    assert keys(store) == []


def test_of_racing_writers_exactly_one_wins(store: ObjectStore) -> None:
    writers = 8
    barrier = threading.Barrier(writers)

    def write(number: int) -> list[bool]:
        barrier.wait(timeout=30)
        return [store.put_if_absent(f"race/{key}", f"{number}".encode() * 1000) for key in range(25)]

    with ThreadPoolExecutor(writers) as pool:
        outcomes = list(pool.map(write, range(writers)))
    for key in range(25):
        winners = [number for number in range(writers) if outcomes[number][key]]
        assert len(winners) == 1
        assert store.get(f"race/{key}") == f"{winners[0]}".encode() * 1000


def test_readers_never_see_a_mix_of_two_writes(store: ObjectStore) -> None:
    stop = threading.Event()
    store.put("key", b"a" * 200_000)

    def write() -> None:
        for number in range(40):
            store.put("key", (b"a", b"b")[number % 2] * 200_000)
        stop.set()

    def read() -> set[bytes]:
        seen: set[bytes] = set()
        while not stop.is_set():
            seen.add(store.get("key"))
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read), pool.submit(read)]
        pool.submit(write).result(timeout=60)
        for reader in readers:
            assert reader.result(timeout=60) <= {b"a" * 200_000, b"b" * 200_000}


def test_listing_survives_concurrent_deletes(store: ObjectStore) -> None:
    for number in range(50):
        store.put(f"k/{number:03}", b"x")
    listing = store.list("k/")
    first = next(listing)
    for number in range(1, 50):
        store.delete(f"k/{number:03}")
    assert first.key == "k/000"
    assert {info.key for info in listing} <= {f"k/{number:03}" for number in range(50)}


def test_bodies_larger_than_any_buffer(store: ObjectStore) -> None:
    block = bytes(range(251)) * 1000

    class Endless(io.RawIOBase):
        """20 MB that are never in memory at once."""

        left = 80

        def read(self, size: int = -1, /) -> bytes:
            if not self.left:
                return b""
            self.left -= 1
            return block

    stream: BinaryIO = Endless()  # type: ignore[assignment]
    assert store.put_if_absent("large", stream)
    assert store.head("large").size_bytes == 80 * len(block)
    with store.open("large") as found:
        assert all(found.read(len(block)) == block for _ in range(80))
