"""Contents: nothing lost to a deletion at any interleaving or crash, damaged bytes never served and healed."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fake_object_store import Crash, FakeStoreWithHooks, at_every_step, at_step
from media_uploads import keys, sha256, upload

from storage.artifacts import ArtifactStore
from storage.blobs import DELETION_SECONDS
from storage.errors import CorruptObject, MediaNotFound, StoreUnavailable
from storage.keys import derived_prefix, digests_key, quarantine_prefix, trash_prefix
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.types import MediaRecord, MediaRef

MIB = 1 << 20
ARTIFACT = "ab" * 32


def later(store: LocalObjectStore) -> MediaStore:
    """The store when every deletion of today is long over."""
    return MediaStore(store, clock=lambda: 4e9)


def crash() -> None:
    raise Crash


def test_an_upload_at_any_step_of_a_deletion_survives_it(tmp_path: Path) -> None:
    def attempt(step: int) -> bool:
        store = LocalObjectStore(tmp_path / str(step))
        plain = MediaStore(store)
        first = upload(plain, b"same")
        ArtifactStore(store).put("acme", first.ref.sha256, ARTIFACT, b"derived")
        second: list[MediaRecord] = []
        hook, _ = at_step(step, lambda: second.append(upload(plain, b"same")))
        MediaStore(FakeStoreWithHooks(store, hook)).delete("acme", first.ref.id)
        for record in second:
            assert plain.read(record.ref) == b"same"
            assert keys(store, "trash/") == []
            plain.delete("acme", record.ref.id)
        assert keys(store) == []
        return bool(second)

    assert at_every_step(attempt) > 20


def test_a_deletion_at_any_step_of_an_upload_takes_nothing_from_it(tmp_path: Path) -> None:
    def attempt(step: int) -> bool:
        store = LocalObjectStore(tmp_path / str(step))
        plain = MediaStore(store)
        first = upload(plain, b"same")
        hook, seen = at_step(step, lambda: plain.delete("acme", first.ref.id))
        second = upload(MediaStore(FakeStoreWithHooks(store, hook)), b"same")
        assert plain.read(second.ref) == b"same"
        plain.delete("acme", second.ref.id)
        assert keys(store) == [] or seen() <= step
        return seen() > step

    assert at_every_step(attempt) >= 6


@pytest.mark.parametrize("size", [100, 9 * MIB])
def test_a_reader_at_any_step_of_a_deletion_that_is_undone_gets_the_bytes(tmp_path: Path, size: int) -> None:
    """The upload comes right after the deletion's first look for references, which is what makes it undo."""
    data = bytes(size)

    def attempt(step: int) -> bool:
        store = LocalObjectStore(tmp_path / str(step))
        plain = MediaStore(store)
        first = upload(plain, data)
        second: list[MediaRecord] = []
        served: list[bool] = []

        def read() -> None:
            whole = plain.read(second[0].ref) == data
            served.append(whole and b"".join(plain.stream(second[0].ref)) == data)

        reading, _ = at_step(step, read)

        def hook(when: str, name: str, key: str) -> None:
            if not second and (when, name) == ("after", "list") and key.startswith("refs/"):
                second.append(upload(plain, data))
            if second:
                reading(when, name, key)

        MediaStore(FakeStoreWithHooks(store, hook)).delete("acme", first.ref.id)
        assert all(served)
        assert keys(store, "trash/") == []
        return bool(served)

    assert at_every_step(attempt) > 8


@pytest.mark.parametrize("upload_first", [False, True])
def test_after_a_crash_at_any_step_of_a_deletion_recovery_restores_what_is_needed(
    tmp_path: Path, upload_first: bool
) -> None:
    """An upload right after the deletion's first look for references, or none; then death at every step."""

    def attempt(step: int) -> bool:
        store = LocalObjectStore(tmp_path / str(step))
        plain = MediaStore(store)
        first = upload(plain, b"same")
        ArtifactStore(store).put("acme", first.ref.sha256, ARTIFACT, b"derived")
        second: list[MediaRecord] = []
        dying, _ = at_step(step, crash)

        def hook(when: str, name: str, key: str) -> None:
            if upload_first and not second and (when, name) == ("after", "list") and key.startswith("refs/"):
                second.append(upload(plain, b"same"))
            dying(when, name, key)

        hooked = FakeStoreWithHooks(store, hook)
        with suppress(Crash):
            MediaStore(hooked).delete("acme", first.ref.id)
        for recover in (plain.blobs.recover, later(store).blobs.recover):
            recover()
            for record in [*second, *plain.list("acme")]:
                assert plain.read(record.ref) == b"same"
        assert keys(store, "trash/") == []
        return hooked.is_dead

    assert at_every_step(attempt) > 20


def test_two_deletions_and_an_upload_at_pairs_of_steps(tmp_path: Path) -> None:
    """A second deletion of the same content runs wholly at one step of the first, an upload at one of its."""

    def attempt(first_step: int, second_step: int) -> bool:
        store = LocalObjectStore(tmp_path / f"{first_step}-{second_step}")
        plain = MediaStore(store)
        one, two = upload(plain, b"same"), upload(plain, b"same")
        kept: list[MediaRecord] = []
        inner, _ = at_step(second_step, lambda: kept.append(upload(plain, b"same")))
        nested = MediaStore(FakeStoreWithHooks(store, inner))
        outer, _ = at_step(first_step, lambda: nested.delete("acme", two.ref.id))
        MediaStore(FakeStoreWithHooks(store, outer)).delete("acme", one.ref.id)
        for record in kept:
            assert plain.read(record.ref) == b"same", (first_step, second_step)
        return bool(kept)

    for first_step in range(0, 32, 2):
        at_every_step(lambda second_step, first_step=first_step: attempt(first_step, second_step))


def test_recovery_leaves_a_running_deletions_copy_alone(media: MediaStore, store: LocalObjectStore) -> None:
    store.put(f"trash/acme/{'0' * 64}/ff", b"young")
    store.put("trash/stray", b"not ours")
    media.blobs.recover()
    assert len(keys(store, "trash/")) == 2
    later(store).blobs.recover()
    assert keys(store, "trash/") == ["trash/stray"]


def test_a_deletion_that_takes_too_long_gives_up(store: LocalObjectStore) -> None:
    """Its safety copy may be dropped soon, and then the blob must not go."""
    now = [1000.0]

    def slow(when: str, name: str, key: str) -> None:
        if name == "copy_if_absent":
            now[0] += DELETION_SECONDS

    record = upload(MediaStore(store, clock=lambda: 1000.0), b"x")
    MediaStore(FakeStoreWithHooks(store, slow), clock=lambda: now[0]).delete("acme", record.ref.id)
    assert store.get(record.ref.blob_key) == b"x"


def flip(store: LocalObjectStore, key: str, at: int = 0) -> None:
    """Change one bit of an object as a bad disk does, behind everybody's back."""
    data = bytearray(store.get(key))
    data[at] ^= 1
    store.put(key, bytes(data))


@pytest.mark.parametrize("size", [100, 9 * MIB + 5])
@pytest.mark.parametrize("seekable", [True, False])
def test_uploading_again_heals_a_damaged_blob_for_all_its_records(
    media: MediaStore, store: LocalObjectStore, size: int, seekable: bool
) -> None:
    data = np.random.default_rng(size).bytes(size)
    records = [upload(media, data, purpose="vision"), upload(media, data)]
    flip(store, records[0].ref.blob_key, size // 2)
    for _ in range(2):
        with pytest.raises(CorruptObject):
            media.read(records[0].ref)
        with pytest.raises(CorruptObject):
            list(media.stream(records[1].ref))
    assert len(keys(store, quarantine_prefix("acme", records[0].ref.sha256))) == 1
    assert media.find_by_content("acme", records[0].ref.sha256, "vision") is None
    records.append(upload(media, data, seekable=seekable))
    for record in records:
        assert media.read(record.ref) == data
        assert b"".join(media.stream(record.ref)) == data
    assert media.find_by_content("acme", records[0].ref.sha256, "vision") == records[0]
    assert keys(store, "quarantine/") == []
    later(store).blobs.recover()
    assert keys(store, "trash/") == []
    for record in records:
        media.delete("acme", record.ref.id)
    assert keys(store) == []


def test_a_staged_upload_heals_too(
    media: MediaStore, store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.intake.STAGED_FROM_BYTES", 9 * MIB)
    data = bytes(12 * MIB)
    record = upload(media, data)
    flip(store, record.ref.blob_key)
    with pytest.raises(CorruptObject):
        media.read(record.ref)
    upload(media, data, seekable=False)
    assert media.read(record.ref) == data
    assert keys(store, "staging/") == []


def test_healing_at_any_step_of_a_deletion_of_the_damaged_bytes_lasts(tmp_path: Path) -> None:
    """The worst: the deletion has copied the damaged bytes, removes the healed ones and puts its copy back."""

    def attempt(step: int) -> bool:
        store = LocalObjectStore(tmp_path / str(step))
        plain = MediaStore(store)
        first = upload(plain, b"same")
        flip(store, first.ref.blob_key)
        with pytest.raises(CorruptObject):
            plain.read(first.ref)
        healed: list[MediaRecord] = []
        hook, _ = at_step(step, lambda: healed.append(upload(plain, b"same")))
        MediaStore(FakeStoreWithHooks(store, hook)).delete("acme", first.ref.id)
        for record in healed:
            assert plain.read(record.ref) == b"same"
            for _ in range(2):
                later(store).blobs.recover()
                assert plain.read(record.ref) == b"same"
            assert keys(store, "trash/") == []
        return bool(healed)

    assert at_every_step(attempt) > 20


@pytest.mark.parametrize("size", [100, 9 * MIB])
def test_a_blob_that_is_gone_is_found_in_the_trash(
    media: MediaStore, store: LocalObjectStore, size: int
) -> None:
    data = bytes(size)
    ref = upload(media, data).ref
    store.copy_if_absent(ref.blob_key, trash_prefix("acme", ref.sha256) + "ff")
    store.delete(ref.blob_key)
    assert media.read(ref) == data
    assert b"".join(media.stream(ref)) == data
    media.blobs.recover()
    assert store.get(ref.blob_key) == data


RANGES = [(0, None), (0, 1), (5, 5), (9, 3), (4 * MIB - 1, 4 * MIB + 1), (4 * MIB, 8 * MIB), (9 * MIB, None)]


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1, 12 * MIB, 13 * MIB + 7])
def test_streams_give_exactly_the_range(media: MediaStore, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    ref = upload(media, data).ref
    for start, end in [*RANGES, (size - 1, size + 100), (size, None), (-5, 10)]:
        pieces = list(media.stream(ref, start, end))
        assert b"".join(pieces) == data[max(0, start) : end], (start, end)
        assert all(0 < len(piece) <= 4 * MIB for piece in pieces)


def test_only_large_blobs_have_digests(media: MediaStore, store: LocalObjectStore) -> None:
    upload(media, bytes(8 * MIB))
    assert keys(store, "digests/") == []
    large = upload(media, bytes(8 * MIB + 1))
    assert keys(store, "digests/") == [digests_key("acme", large.ref.sha256)]


def test_a_range_reads_its_chunks_only(store: LocalObjectStore) -> None:
    opened: list[tuple[int, int | None]] = []

    class Watched(LocalObjectStore):
        def open(self, key, offset_bytes=0, length_bytes=None):
            opened.append((offset_bytes, length_bytes))
            return super().open(key, offset_bytes, length_bytes)

    media = MediaStore(Watched(store._root))
    data = np.random.default_rng(1).bytes(20 * MIB)
    ref = upload(media, data).ref
    opened.clear()
    assert b"".join(media.stream(ref, 5 * MIB, 6 * MIB)) == data[5 * MIB : 6 * MIB]
    assert (4 * MIB, 4 * MIB) in opened
    assert all(length is None or length <= 4 * MIB for _, length in opened)


@pytest.mark.parametrize("damage", ["missing", "flipped", "another blob's", "empty"])
def test_digests_that_are_missing_or_damaged_are_written_again(
    media: MediaStore, store: LocalObjectStore, damage: str
) -> None:
    data = np.random.default_rng(2).bytes(10 * MIB)
    ref = upload(media, data).ref
    key = digests_key("acme", ref.sha256)
    whole = store.get(key)
    if damage == "missing":
        store.delete(key)
    elif damage == "flipped":
        flip(store, key, 50)
    elif damage == "another blob's":
        store.put(key, store.get(digests_key("acme", upload(media, bytes(10 * MIB)).ref.sha256)))
    else:
        store.put(key, b"")
    assert b"".join(media.stream(ref, 100, 200)) == data[100:200]
    assert store.get(key) == whole
    # nor is a byte served on the way when the blob is damaged as well
    store.delete(key)
    flip(store, ref.blob_key, len(data) - 1)
    with pytest.raises(CorruptObject):
        next(media.stream(ref, 0, 10))


def test_a_damaged_chunk_is_not_served_but_those_before_it_are(
    media: MediaStore, store: LocalObjectStore
) -> None:
    data = np.random.default_rng(3).bytes(13 * MIB)
    ref = upload(media, data).ref
    flip(store, ref.blob_key, 9 * MIB)
    pieces = media.stream(ref)
    assert next(pieces) + next(pieces) == data[: 8 * MIB]
    with pytest.raises(CorruptObject):
        next(pieces)
    assert len(keys(store, "quarantine/")) == 1
    assert b"".join(media.stream(ref, 12 * MIB)) == data[12 * MIB :]


@pytest.mark.parametrize("damage", ["short", "long", "empty"])
@pytest.mark.parametrize("size", [1000, 9 * MIB])
def test_a_blob_of_another_length_is_never_served(
    media: MediaStore, store: LocalObjectStore, damage: str, size: int
) -> None:
    data = np.random.default_rng(4).bytes(size)
    ref = upload(media, data).ref
    store.put(ref.blob_key, {"short": data[:-1], "long": data + b"x", "empty": b""}[damage])
    with pytest.raises(CorruptObject):
        media.read(ref)
    if damage != "long":
        with pytest.raises(CorruptObject):
            list(media.stream(ref))


def test_a_marker_that_cannot_be_written_changes_nothing_for_the_reader(
    store: LocalObjectStore,
) -> None:
    ref = upload(MediaStore(store), b"x").ref
    flip(store, ref.blob_key)

    def down(when: str, name: str, key: str) -> None:
        if key.startswith("quarantine/"):
            raise StoreUnavailable("down")

    with pytest.raises(CorruptObject):
        MediaStore(FakeStoreWithHooks(store, down)).read(ref)


def test_artifacts_that_come_after_the_deletion_do_not_stay(
    media: MediaStore, store: LocalObjectStore
) -> None:
    record = upload(media, b"x")
    media.delete("acme", record.ref.id)
    ArtifactStore(store).put("acme", record.ref.sha256, ARTIFACT, b"late")
    assert keys(store, derived_prefix("acme", record.ref.sha256)) == []


def test_a_reference_of_an_upload_in_flight_keeps_the_blob(media: MediaStore) -> None:
    one = upload(media, b"same")
    ref = media.receive("acme", io.BytesIO(b"same"), "x/y", 10)
    media.delete("acme", one.ref.id)
    assert media.read(media.commit(ref, filename=None).ref) == b"same"


def test_reading_what_never_was(media: MediaStore) -> None:
    for size in (10, 9 * MIB):
        ref = MediaRef("file-" + "0" * 32, "acme", sha256(b"nothing"), size, "x/y")
        with pytest.raises(MediaNotFound):
            media.read(ref)
        with pytest.raises(MediaNotFound):
            next(media.stream(ref))
