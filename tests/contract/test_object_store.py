"""What every object store backend must do. A new backend is one more entry in ``BACKENDS``. S3 is a real server."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.errors import InvalidKey, ObjectNotFound
from storage.local import LocalObjectStore
from storage.objects import ObjectStore
from storage.types import TierPolicy


def open_local(request: pytest.FixtureRequest) -> ObjectStore:
    folder: Path = request.getfixturevalue("tmp_path")
    return LocalObjectStore(folder / "store")


def open_s3(request: pytest.FixtureRequest) -> ObjectStore:
    from storage.s3.store import S3ObjectStore

    store = S3ObjectStore(request.getfixturevalue("s3_server").config)
    request.addfinalizer(store.close)
    return store


BACKENDS: dict[str, Callable[[pytest.FixtureRequest], ObjectStore]] = {"local": open_local, "s3": open_s3}


@pytest.fixture(params=sorted(BACKENDS))
def store(request: pytest.FixtureRequest) -> ObjectStore:
    return BACKENDS[request.param](request)


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


def test_list_is_by_string_prefix_and_in_order_of_names(store: ObjectStore) -> None:
    written = ["a-b", "a/b", "a/c/d", "a0", "ab", "b", "a/b.json", "a.b/c", "A"]
    for key in written:
        store.put(key, b"x" * len(key))
    for prefix in ("", "a", "a/", "a/b", "a/c/", "a0", "b", "zzz", "a/c/d/"):
        found = keys(store, prefix)
        assert sorted(found) == sorted(key for key in written if key.startswith(prefix)), prefix
        for folder in {key.rpartition("/")[0] for key in found}:  # the order of folders is the backend's own
            within = [key for key in found if key.rpartition("/")[0] == folder]
            assert within == sorted(within), prefix
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

    stream: BinaryIO = Endless()
    assert store.put_if_absent("large", stream)
    assert store.head("large").size_bytes == 80 * len(block)
    with store.open("large") as found:
        assert all(found.read(len(block)) == block for _ in range(80))


def test_ranges(store: ObjectStore) -> None:
    data = bytes(range(256)) * 2000
    store.put("key", data)
    size = len(data)
    for offset, length in [
        *((0, None), (7, None), (size - 1, None), (size, None), (size + 5, None)),
        *((0, 0), (0, 1), (5, 300_000), (size - 3, 3), (size - 3, 100), (size, 4), (size + 1, 4), (9, 0)),
    ]:
        with store.open("key", offset, length) as stream:
            wanted = data[offset:] if length is None else data[offset : offset + length]
            assert stream.read(2) == wanted[:2], (offset, length)
            assert stream.read() == wanted[2:], (offset, length)
            assert stream.read(1) == b""
    store.put("empty", b"")
    for offset, length in [(0, None), (0, 5), (3, None), (3, 5)]:
        with store.open("empty", offset, length) as stream:
            assert stream.read() == b""
    for offset, length in [(0, None), (0, 0), (4, None), (4, 4)]:
        with pytest.raises(ObjectNotFound):
            store.open("missing", offset, length)
    for offset, length in [(-1, None), (0, -1)]:
        with pytest.raises(ValueError, match="negative"):
            store.open("key", offset, length)


def test_a_stream_gives_as_much_as_is_asked_for(store: ObjectStore) -> None:
    data = bytes(range(251)) * 10_000
    store.put("key", data)
    with store.open("key", 100) as stream:
        pieces = [stream.read(700_000) for _ in range(5)]
    assert [len(piece) for piece in pieces] == [700_000, 700_000, 700_000, len(data) - 2_100_100, 0]
    assert b"".join(pieces) == data[100:]


def test_copies(store: ObjectStore) -> None:
    store.put("a/source", b"bytes")
    assert store.copy_if_absent("a/source", "b/c/target")
    assert not store.copy_if_absent("a/source", "b/c/target")
    assert store.get("b/c/target") == b"bytes"
    assert store.get("a/source") == b"bytes"
    store.put("a/source", b"other")
    assert store.get("b/c/target") == b"bytes"  # a copy, not another name
    assert not store.copy_if_absent("a/source", "b/c/target")
    assert store.get("b/c/target") == b"bytes"
    store.delete("a/source")
    assert store.get("b/c/target") == b"bytes"
    assert store.copy_if_absent("b/c/target", "a/source")
    store.delete("b/c/target")
    assert store.get("a/source") == b"bytes"
    assert not store.copy_if_absent("a/source", "a/source")
    for missing in ("missing", "a", "missing/too", "a/source/below"):
        with pytest.raises(ObjectNotFound):
            store.copy_if_absent(missing, "d")
    assert keys(store) == ["a/source"]


def test_a_copy_is_as_young_as_its_making(store: ObjectStore) -> None:
    """Garbage collection goes by age: the copy of an old object must not look old."""
    store.put("source", b"x")
    before = store.head("source").modified_at_seconds
    if isinstance(store, LocalObjectStore):
        files = [path for path in store._objects.rglob("source") if path.is_file()]
        os.utime(files[0], (before - 1e6,) * 2)
    assert store.copy_if_absent("source", "target")
    assert store.head("target").modified_at_seconds >= before - 1  # S3 tells whole seconds


def _race(store: ObjectStore, write: Callable[[int, str], bool]) -> list[list[int]]:
    """Six threads write the same ten keys at once; who won each, by key."""
    barrier = threading.Barrier(6)

    def write_all(number: int) -> list[bool]:
        barrier.wait(timeout=30)
        return [write(number, f"race/{key}") for key in range(10)]

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(write_all, range(6)))
    return [[number for number in range(6) if outcomes[number][key]] for key in range(10)]


def test_of_racing_copies_exactly_one_wins(store: ObjectStore) -> None:
    for number in range(6):
        store.put(f"source/{number}", f"{number}".encode() * 1000)
    winners = _race(store, lambda number, key: store.copy_if_absent(f"source/{number}", key))
    for key, won in enumerate(winners):
        assert len(won) == 1
        assert store.get(f"race/{key}") == f"{won[0]}".encode() * 1000


def test_racing_copies_and_writers_of_the_same_bytes_all_find_them_stored(store: ObjectStore) -> None:
    """Exactly one wins where puts and copies share a lock. SeaweedFS has one each: somebody wins, at least."""
    data = b"same" * 1000
    store.put("source", data)

    def write(number: int, key: str) -> bool:
        won = store.copy_if_absent("source", key) if number % 2 else store.put_if_absent(key, data)
        assert store.get(key) == data
        return won

    for won in _race(store, write):
        assert len(won) == 1 if isinstance(store, LocalObjectStore) else won


def test_list_goes_on_after_a_key(store: ObjectStore) -> None:
    names = [f"file-{number:04}" for number in range(0, 40, 2)]
    for name in names:
        store.put(f"files/tenant/{name}", b"x")
    store.put("files/tenant-b/file-0000", b"x")
    full = [f"files/tenant/{name}" for name in names]
    assert keys(store, "files/tenant/") == full
    for after in ("file-0006", "file-0007", "file-0000", "file-0038", "file-9", "a"):
        found = [info.key for info in store.list("files/tenant/", after=f"files/tenant/{after}")]
        assert found == [key for key in full if key > f"files/tenant/{after}"], after
    # page by page, as a client asks for a listing
    pages, last = [], None
    while page := list(itertools.islice(store.list("files/tenant/", after=last), 6)):
        pages.append([info.key for info in page])
        last = page[-1].key
    assert [key for page in pages for key in page] == full


def test_new_objects_are_hot(store: ObjectStore) -> None:
    store.put("blobs/t/x", b"x")
    assert store.head("blobs/t/x").tier == "hot"
    assert [info.tier for info in store.list("blobs/")] == ["hot"]


def test_no_tiers_asked_for_is_no_error(store: ObjectStore) -> None:
    store.put("blobs/t/x", b"x")
    store.apply_tiers(TierPolicy())
    assert store.get("blobs/t/x") == b"x"


def test_a_store_travels_as_its_settings(store: ObjectStore) -> None:
    store.put("key", b"x")
    travelled = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    try:
        assert travelled.get("key") == b"x"
        assert not travelled.put_if_absent("key", b"y")
    finally:
        getattr(travelled, "close", lambda: None)()
