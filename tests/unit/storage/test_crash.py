"""Power lost under the local store, at every point of its work: what was acknowledged is there, nothing is torn.

The layer below (tests/crash_disk.py) forgets what was not synced. That the check can fail is tested, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from crash_disk import CrashDisk, Killed

from storage.errors import ObjectNotFound
from storage.local import LocalObjectStore
from storage.types import TierPolicy

BODY = bytes(range(256)) * 20
OTHER = BODY[::-1]
BLOB = "blobs/t/sha256/ab/cd/abcd"
SEEDS = 4

Model = dict[str, bytes]
Step = Callable[[LocalObjectStore, Model], None]


def put(key: str, data: bytes) -> Step:
    def step(store: LocalObjectStore, model: Model) -> None:
        store.put(key, data)
        model[key] = data

    return step


def put_if_absent(key: str, data: bytes) -> Step:
    def step(store: LocalObjectStore, model: Model) -> None:
        assert store.put_if_absent(key, data) == (key not in model)
        model.setdefault(key, data)

    return step


def put_all(*objects: tuple[str, bytes]) -> Step:
    def step(store: LocalObjectStore, model: Model) -> None:
        expected = []
        wanted = dict(model)
        for key, data in objects:
            expected.append(key not in wanted)
            wanted.setdefault(key, data)
        assert store.put_all_if_absent(objects) == expected
        model.update(wanted)

    return step


def copy(source: str, target: str) -> Step:
    def step(store: LocalObjectStore, model: Model) -> None:
        assert store.copy_if_absent(source, target) == (target not in model)
        model.setdefault(target, model[source])

    return step


def delete(key: str) -> Step:
    def step(store: LocalObjectStore, model: Model) -> None:
        store.delete(key)
        model.pop(key, None)

    return step


def make_cold(store: LocalObjectStore, model: Model) -> None:
    store.apply_tiers(TierPolicy(cold_after_days=0))


WORK: list[Step] = [
    put_if_absent("refs/t/abcd/1", b""),
    put_if_absent(BLOB, BODY),
    put("files/t/1.json", b"one"),
    put_if_absent(BLOB, BODY),
    put("files/t/1.json", b"one, changed"),
    make_cold,
    copy(BLOB, "trash/t/abcd/nonce"),
    copy("files/t/1.json", "files/t/2.json"),
    delete(BLOB),
    delete("files/t/1.json"),
    copy("trash/t/abcd/nonce", BLOB),
    put(BLOB, OTHER),
    delete("trash/t/abcd/nonce"),
    make_cold,
    put(BLOB, BODY),
    delete("refs/t/abcd/1"),
    delete("refs/t/abcd/1"),
]


TOGETHER: list[Step] = [
    put_all(("refs/t/a/1", b""), ("refs/t/b/1", b""), (BLOB, BODY), ("blobs/t/sha256/ab/ef/abef", OTHER)),
    put_all(("refs/t/a/2", b""), (BLOB, BODY), ("files/t/1.json", b"one"), ("files/t/1.json", b"two")),
    delete(BLOB),
    put_all((BLOB, OTHER)),
    put_all(),
]


def open_store(root: Path, files: CrashDisk | None = None) -> LocalObjectStore:
    return LocalObjectStore(root / "data" / "store", root / "cold", files)


def contents(store: LocalObjectStore) -> Model:
    return {info.key: store.get(info.key) for info in store.list("")}


def check_every_crash(tmp_path: Path, make_disk: type[CrashDisk], work: list[Step]) -> int:
    """Kill the work before each of its operations on the disk, lose the power then or at the next restart, and
    compare with what was acknowledged. Returns how many states were looked at.
    """
    numbers = itertools.count()
    for kill_at in itertools.count():
        root = tmp_path / f"live-{next(numbers)}"
        root.mkdir()
        disk = make_disk(root)
        acknowledged: Model = {}
        attempted: Model = {}
        finished = False
        try:
            with disk.killed_after(kill_at):
                store = open_store(root, disk)
                for step in work:
                    attempted = dict(acknowledged)
                    # what the step in progress wants, in case it gets through unheard
                    step_of(step, attempted)
                    step(store, acknowledged)
                finished = True
        except Killed:
            pass
        for state in disk.states(iter(range(SEEDS))):
            found_root = tmp_path / f"found-{next(numbers)}"
            state.write_to(found_root)
            found = contents(open_store(found_root))
            for key in acknowledged.keys() | attempted.keys() | found.keys():
                allowed = (acknowledged.get(key), attempted.get(key))
                assert found.get(key) in allowed, f"{key} after a crash before operation {kill_at}"
        if finished:
            return next(numbers)
    raise AssertionError


class Imagined:
    """A store that does all that it is told, for the model's sake only."""

    def __init__(self, model: Model) -> None:
        self._model = dict(model)

    def put(self, key: str, data: bytes) -> None:
        """The model is changed by the step."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return key not in self._model

    def put_all_if_absent(self, objects: Sequence[tuple[str, bytes]]) -> list[bool]:
        seen = set(self._model)
        return [key not in seen and not seen.add(key) for key, _ in objects]

    def copy_if_absent(self, source: str, target: str) -> bool:
        return target not in self._model

    def delete(self, key: str) -> None:
        """The model is changed by the step."""

    def apply_tiers(self, policy: TierPolicy) -> None:
        """Changes no bytes."""


def step_of(step: Step, model: Model) -> None:
    step(Imagined(model), model)


def test_power_lost_at_any_point_loses_nothing_acknowledged(tmp_path: Path) -> None:
    assert check_every_crash(tmp_path, CrashDisk, WORK) > 500


def test_power_lost_while_many_are_put_together(tmp_path: Path) -> None:
    assert check_every_crash(tmp_path, CrashDisk, TOGETHER) > 200


class WithoutFileSync(CrashDisk):
    def sync(self, file: BinaryIO) -> None:
        file.flush()


class WithoutFolderSync(CrashDisk):
    def sync_folder(self, folder: Path) -> None:
        pass


class WithoutSyncOfDeepFolders(CrashDisk):
    """Forgets the folders of new folders."""

    def sync_folder(self, folder: Path) -> None:
        if folder.name != "objects":
            super().sync_folder(folder)


class SyncingAfterNaming(CrashDisk):
    """The classic: the name is made durable, the bytes are not."""

    def sync(self, file: BinaryIO) -> None:
        file.flush()
        self._late = file.name

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        if (node := self._written.get(getattr(self, "_late", ""))) is not None:
            node.durable, node.pending = node.durable + node.pending, b""


@pytest.mark.parametrize(
    "broken", [WithoutFileSync, WithoutFolderSync, WithoutSyncOfDeepFolders, SyncingAfterNaming]
)
def test_a_store_that_skips_a_sync_is_caught(tmp_path: Path, broken: type[CrashDisk]) -> None:
    with pytest.raises(AssertionError, match="after a crash before operation"):
        check_every_crash(tmp_path, broken, [put("a/b", b""), put(BLOB, BODY), put(BLOB, OTHER)])


def test_a_cold_file_that_is_not_synced_before_its_link_is_caught(tmp_path: Path) -> None:
    class ColdUnsynced(CrashDisk):
        def sync(self, file: BinaryIO) -> None:
            if "/cold/" not in file.name:
                super().sync(file)

    with pytest.raises(AssertionError, match="after a crash before operation"):
        check_every_crash(tmp_path, ColdUnsynced, [put(BLOB, BODY), make_cold])


def test_a_delete_that_is_not_synced_is_caught(tmp_path: Path) -> None:
    class DeletesUnsynced(CrashDisk):
        unlinked = False

        def unlink(self, path: Path) -> None:
            super().unlink(path)
            self.unlinked = "objects" in path.parts

        def sync_folder(self, folder: Path) -> None:
            if not self.unlinked:
                super().sync_folder(folder)

    with pytest.raises(AssertionError, match="after a crash before operation"):
        check_every_crash(tmp_path, DeletesUnsynced, [put("key", BODY), delete("key"), delete("key")])


def lose_by_put(store: LocalObjectStore) -> bool:
    return store.put_if_absent("a/b/key", OTHER)


def lose_by_copy(store: LocalObjectStore) -> bool:
    return store.copy_if_absent("source", "a/b/key")


@pytest.mark.parametrize("lose", [lose_by_put, lose_by_copy])
@pytest.mark.parametrize("late", [False, True])
def test_the_loser_of_a_race_with_a_killed_winner_promises_durability(
    tmp_path: Path, lose: Callable[[LocalObjectStore], bool], late: bool
) -> None:
    """A writer is killed at any point, before or (``late``) between the looks of the next one, which hears that
    the key is taken; then the power goes.
    """
    refused = 0
    for kill_at in range(20):
        root = tmp_path / f"live-{kill_at}"
        root.mkdir()

        class Racing(CrashDisk):
            """The first link to come meets the winner, who is killed."""

            waiting = False

            def link(self, source: Path, target: Path) -> None:
                if self.waiting:
                    self.waiting = False
                    win_and_die(self)
                super().link(source, target)

        def win_and_die(disk: CrashDisk, root: Path = root, kill_at: int = kill_at) -> None:
            try:
                with disk.killed_after(kill_at):
                    open_store(root, disk).put_if_absent("a/b/key", BODY)
            except Killed:
                pass

        disk = Racing(root)
        open_store(root, disk).put("source", OTHER)
        disk.waiting = late
        if not late:
            win_and_die(disk)
        created = lose(open_store(root, disk))
        refused += not created
        for number, state in enumerate(disk.states(iter(range(SEEDS)))):
            found_root = tmp_path / f"found-{kill_at}-{number}"
            state.write_to(found_root)
            assert open_store(found_root).get("a/b/key") == (OTHER if created else BODY)
    assert 0 < refused < 20


def test_a_reader_of_a_lost_object_is_told(tmp_path: Path) -> None:
    """An unacknowledged object may vanish, whole."""
    disk = CrashDisk(tmp_path)
    store = open_store(tmp_path, disk)
    operations = disk.operations
    store.put("key", BODY)
    with pytest.raises(Killed), disk.killed_after(disk.operations - operations - 2):
        store.put("other", BODY)
    assert store.get("other") == BODY  # it has its name, which is not synced
    nothing_unsynced = next(iter(disk.states(iter(()))))
    nothing_unsynced.write_to(tmp_path.with_name(f"{tmp_path.name}-found"))
    found = open_store(tmp_path.with_name(f"{tmp_path.name}-found"))
    assert found.get("key") == BODY
    with pytest.raises(ObjectNotFound):
        found.get("other")
