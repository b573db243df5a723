"""The local backend's own promises: staging is invisible, errors are named, what is acknowledged stays."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
import secrets
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from storage.errors import InvalidKey, StoreUnavailable
from storage.filesystem import FileSystem
from storage.local import LocalObjectStore

REPO = Path(__file__).resolve().parents[3]


def test_torn_staging_files_are_invisible_and_swept_when_stale(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    staging = tmp_path / "staging"
    (staging / "torn").write_bytes(b"half of an obj")
    (staging / "young").write_bytes(b"someone is writing this")
    os.utime(staging / "torn", (time.time() - 100_000,) * 2)
    assert list(store.list("")) == []
    store.probe()
    assert [path.name for path in staging.iterdir()] == ["young"]


def test_folders_made_are_their_owners_alone(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir(mode=0o755)
    root = given / "data" / "store"
    LocalObjectStore(root).put("a/b", b"x")
    made = [root.parent, root, *(path for path in root.rglob("*") if path.is_dir())]
    assert len(made) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
    assert stat.S_IMODE(given.stat().st_mode) == 0o755


def test_no_staging_file_is_left_by_any_outcome(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.put("a/b", b"x")
    store.put_if_absent("a/b", b"y")
    store.put_if_absent("a/c", b"z")
    for key in ("a", "a/b/c"):
        with pytest.raises(InvalidKey):
            store.put(key, b"a folder of another key")
        with pytest.raises(InvalidKey):
            store.put_if_absent(key, b"a folder of another key")
    assert list((tmp_path / "staging").iterdir()) == []
    assert [info.key for info in store.list("")] == ["a/b", "a/c"]


class FailingDisk(FileSystem):
    """One call fails with one error while ``code`` is set."""

    def __init__(self, call: str) -> None:
        self.call = call
        self.code: int | None = None

    def _fail(self, call: str) -> None:
        if self.code is not None and call == self.call:
            raise OSError(self.code, os.strerror(self.code), "/a/secret/path")

    def sync(self, file: BinaryIO) -> None:
        self._fail("sync")
        super().sync(file)

    def link(self, source: Path, target: Path) -> None:
        self._fail("link")
        super().link(source, target)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["sync", "link"])
def test_the_disks_errors_are_named_without_paths(tmp_path: Path, code: int, call: str) -> None:
    disk = FailingDisk(call)
    store = LocalObjectStore(tmp_path, files=disk)
    disk.code = code
    with pytest.raises(StoreUnavailable) as caught:
        store.put_if_absent("key", b"data")
    disk.code = None
    assert "/" not in caught.value.message
    assert ("full" in caught.value.message) == (code in (errno.ENOSPC, errno.EDQUOT))
    assert list(store.list("")) == []
    assert list((tmp_path / "staging").iterdir()) == []
    assert store.put_if_absent("key", b"data")  # the store works again once the disk does


def test_a_disk_that_fills_up_in_the_middle_is_named(tmp_path: Path) -> None:
    """What could not be written fails once more when the file is closed."""

    class Full(FileSystem):
        def create(self, path: Path) -> BinaryIO:
            path.touch()
            return open("/dev/full", "wb")

    store = LocalObjectStore(tmp_path, files=Full())
    for size in (10, 10_000, 3 << 20):
        with pytest.raises(StoreUnavailable, match="full"):
            store.put_if_absent("key", bytes(size))
        with pytest.raises(StoreUnavailable, match="full"):
            store.put("key", io.BytesIO(bytes(size)))
    assert list(store.list("")) == []
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_staging_name_that_cannot_be_removed_changes_no_answer(tmp_path: Path) -> None:
    class Stubborn(FileSystem):
        def unlink(self, path: Path) -> None:
            raise PermissionError(errno.EPERM, "no", str(path))

    store = LocalObjectStore(tmp_path, files=Stubborn())
    assert store.put_if_absent("key", b"data")
    assert store.get("key") == b"data"


def test_the_probe_refuses_a_file_system_without_conditional_put(tmp_path: Path) -> None:
    class Overwriting(FileSystem):
        def link(self, source: Path, target: Path) -> None:
            os.replace(source, target)

        def link_status(self, path: Path) -> os.stat_result:
            raise FileNotFoundError

    with pytest.raises(StoreUnavailable, match="conditional write"):
        LocalObjectStore(tmp_path, files=Overwriting()).probe()


def test_a_root_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        LocalObjectStore(tmp_path / "file" / "store")


def test_a_folder_lost_under_the_store_is_an_error_not_a_missing_object(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    (tmp_path / "staging").rmdir()
    with pytest.raises(StoreUnavailable):
        store.put("key", b"x")


def test_every_folder_of_a_new_key_is_synced_before_the_answer(tmp_path: Path) -> None:
    synced: list[str] = []

    class Watched(FileSystem):
        def sync_folder(self, folder: Path) -> None:
            super().sync_folder(folder)
            synced.append(str(folder.relative_to(tmp_path)) if folder != tmp_path.parent else "..")

    root = tmp_path / "store"
    store = LocalObjectStore(root, files=Watched())
    assert synced == [".", "store", "store"]  # its own name, too
    synced.clear()
    store.put_if_absent("a/b/c", b"x")
    assert synced == ["store/objects", "store/objects/a", "store/objects/a/b"]
    synced.clear()
    # Whoever was first may have died before its sync, so a loser syncs as well.
    LocalObjectStore(root, files=Watched()).put_if_absent("a/b/c", b"y")
    assert synced[-3:] == ["store/objects", "store/objects/a", "store/objects/a/b"]


def test_every_new_folder_above_the_root_is_synced_into_its_parent(tmp_path: Path) -> None:
    synced: list[Path] = []

    class Watched(FileSystem):
        def sync_folder(self, folder: Path) -> None:
            super().sync_folder(folder)
            synced.append(folder)

    LocalObjectStore(tmp_path / "a" / "b" / "store", files=Watched())
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)


WRITER = """
import hashlib, sys
from pathlib import Path
from storage.local import LocalObjectStore
store = LocalObjectStore(Path(sys.argv[1]))
start = int(sys.argv[2])
for number in range(start, start + 1_000_000):
    name = hashlib.sha256(str(number).encode()).hexdigest()
    data = name.encode() * (1 + number % 700)
    write = store.put if number % 2 else store.put_if_absent
    write(f"k/{name[:2]}/{name}", data)
    print(number, flush=True)
"""


def test_killed_writers_lose_nothing_acknowledged_and_tear_nothing(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)
    chance = np.random.default_rng(seed)
    acknowledged: list[int] = []
    for kill_round in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(kill_round * 1_000_000)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(REPO)},
        )
        with writer:
            assert writer.stdout is not None
            acknowledged += [int(writer.stdout.readline()) for _ in range(chance.integers(1, 40))]
            time.sleep(chance.random() * 0.01)
            writer.kill()
            acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
    store = LocalObjectStore(tmp_path)
    held = {info.key.rpartition("/")[2] for info in store.list("k/")}
    for number in acknowledged:
        assert hashlib.sha256(str(number).encode()).hexdigest() in held, number
    for info in store.list("k/"):
        data = store.get(info.key)
        name = info.key.rpartition("/")[2]
        assert data == name.encode() * max(1, len(data) // 64)
    assert len(held) >= len(acknowledged) >= 6
