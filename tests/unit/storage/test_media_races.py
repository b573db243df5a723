"""What an object store may do at a bad moment: act late on a request, notice damage first, hold strange names."""

from __future__ import annotations

import io
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from fake_object_store import FakeStoreWithHooks, Hook, at_every_step, at_step
from media_uploads import keys, sha256, upload

from storage.artifacts import ArtifactStore
from storage.blobs import DELETION_SECONDS
from storage.errors import CorruptObject, MediaNotFound
from storage.garbage import GarbageCollector
from storage.keys import (
    blob_key,
    content_of,
    derived_prefix,
    digests_key,
    quarantine_prefix,
    reference_prefix,
)
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.records import encode_record
from storage.types import INLINE, MediaRecord
from storage.uploads import UploadStore
from storage.verify import verify_store

MIB = 1 << 20
ARTIFACT = "ab" * 32


def in_seconds(store: ObjectStore, seconds: float) -> MediaStore:
    return MediaStore(store, clock=lambda: time.time() + seconds)


class FakeStoreWithLostAnswer(FakeStoreWithHooks):
    """First tries of deleting blobs got no answer; ``strike`` lets them come into effect."""

    def __init__(self, store: ObjectStore, hook: Hook | None = None) -> None:
        super().__init__(store, hook)
        self._under_way: list[str] = []

    def delete(self, key: str) -> bool:
        super().delete(key)
        if not key.startswith("blobs/"):
            return True
        self._under_way.append(key)
        return False

    def strike(self) -> None:
        for key in self._under_way:
            self.store.delete(key)


@pytest.mark.parametrize("undone", [False, True])
def test_a_deletion_that_acts_late_takes_nothing_that_came_since(
    media: MediaStore, store: LocalObjectStore, undone: bool
) -> None:
    """The blob's deletion was tried twice, and the first try hits what was uploaded after the deletion, or while
    it was under way (``undone``).
    """
    first = upload(media, b"same")
    second: list[MediaRecord] = []

    def hook(when: str, name: str, key: str) -> None:
        if undone and not second and (when, name) == ("before", "delete") and key.startswith("blobs/"):
            second.append(upload(media, b"same"))

    late = FakeStoreWithLostAnswer(store, hook)
    MediaStore(late).delete("acme", first.ref.id)
    record = second[0] if undone else upload(media, b"same")
    late.strike()
    assert media.read(record.ref) == b"same"
    media.blobs.recover()
    assert store.get(record.ref.blob_key) == b"same"
    in_seconds(store, DELETION_SECONDS + 60).blobs.recover()
    assert keys(store, "trash/") == []
    assert media.read(record.ref) == b"same"


def test_a_deletion_that_acts_late_leaves_no_bytes_for_good(
    media: MediaStore, store: LocalObjectStore
) -> None:
    record = upload(media, b"same")
    MediaStore(FakeStoreWithLostAnswer(store)).delete("acme", record.ref.id)
    in_seconds(store, DELETION_SECONDS + 60).blobs.recover()
    assert keys(store) == []


def test_a_deletion_that_came_second_leaves_the_marks_to_an_upload(
    media: MediaStore, store: LocalObjectStore
) -> None:
    """Another deletion has damaged bytes in the trash and will put them back for the upload, which must then find
    the mark to heal them.
    """
    ref = upload(media, b"same").ref
    store.put(ref.blob_key, b"damaged")
    with pytest.raises(CorruptObject):
        media.read(ref)

    def overtake(when: str, name: str, key: str) -> None:
        if (when, name) == ("before", "copy_if_absent"):
            store.delete(ref.blob_key)  # by the deletion that came first
            store.put(reference_prefix("acme", ref.sha256) + "file-" + "0" * 32, b"")  # by the upload

    MediaStore(FakeStoreWithHooks(store, overtake)).delete("acme", ref.id)
    assert len(keys(store, quarantine_prefix("acme", ref.sha256))) == 1


def test_recovery_leaves_the_marks_of_a_blob_that_is_there(
    media: MediaStore, store: LocalObjectStore
) -> None:
    key = blob_key("acme", sha256(b"same"))
    store.put(key, b"damaged")
    media.blobs.quarantine("acme", sha256(b"same"))
    store.put(f"trash/acme/{sha256(b'same')}/ff", b"damaged")  # of a deletion that crashed before it deleted
    in_seconds(store, DELETION_SECONDS + 60).blobs.recover()
    assert keys(store, "trash/") == []
    assert media.read(upload(media, b"same").ref) == b"same"


@pytest.mark.parametrize("step", range(8))
def test_an_extension_at_any_step_of_taking_back_brings_nothing_back(
    store: LocalObjectStore, media: MediaStore, step: int
) -> None:
    """A medium that came inside a request is found by another request and extended, while the first one was
    cancelled and takes it back.
    """
    record = upload(media, b"x", purpose=INLINE, expires_at_seconds=int(time.time()) + 1000)

    def extend() -> None:
        with suppress(MediaNotFound):
            media.extend(record, int(time.time()) + 9000)

    hook, seen = at_step(step, extend)
    MediaStore(FakeStoreWithHooks(store, hook)).abandon(record.ref)
    assert seen() > step
    assert keys(store) == []


def test_what_expires_in_a_moment_is_not_extended(media: MediaStore, store: LocalObjectStore) -> None:
    """Another gateway, whose clock is a little ahead, may have found it expired and be about to remove it."""
    record = upload(media, b"x", purpose=INLINE, expires_at_seconds=int(time.time()) + 20)
    removing = list(in_seconds(store, 30).expired())
    with suppress(MediaNotFound):
        record = media.extend(record, int(time.time()) + 9000)
        pytest.fail("it was promised to stay")
    assert removing == [record]


class FakeStoreThatChecks(LocalObjectStore):
    """Notices damage by itself, as S3 does, at the end of reading what ``damaged`` names."""

    damaged: tuple[str, ...] = ()

    def get(self, key: str) -> bytes:
        if key in self.damaged:
            raise CorruptObject("The store's own checksum does not fit.")
        return super().get(key)

    def open(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> BinaryIO:
        if key in self.damaged:
            super().open(key).close()
            return _Damaged()
        return super().open(key, offset_bytes, length_bytes)

    def put(self, key, data):
        super().put(key, data)
        self.damaged = tuple(other for other in self.damaged if other != key)


class _Damaged(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise CorruptObject("The store's own checksum does not fit.")


@pytest.fixture
def checking(tmp_path: Path) -> FakeStoreThatChecks:
    return FakeStoreThatChecks(tmp_path / "store")


@pytest.mark.parametrize("size", [100, 9 * MIB])
def test_damage_that_the_store_notices_is_marked_and_healed(checking: FakeStoreThatChecks, size: int) -> None:
    media, data = MediaStore(checking), bytes(size)
    ref = upload(media, data).ref
    for read in (lambda: media.read(ref), lambda: b"".join(media.stream(ref))):
        checking.damaged = (ref.blob_key,)
        with pytest.raises(CorruptObject):
            read()
        assert len(keys(checking, "quarantine/")) == 1
        upload(media, data)
        assert read() == data
        assert keys(checking, "quarantine/") == []
        checking.damaged = (ref.blob_key,)  # what the healing left in the trash is read instead
        assert read() == data
        in_seconds(checking, DELETION_SECONDS + 60).blobs.recover()
        assert checking.damaged == ()
        in_seconds(checking, DELETION_SECONDS + 60).blobs.recover()
        assert keys(checking, "trash/") == []


def test_digests_that_the_store_finds_damaged_are_written_again(checking: FakeStoreThatChecks) -> None:
    media, data = MediaStore(checking), bytes(9 * MIB)
    ref = upload(media, data).ref
    checking.damaged = (digests_key("acme", ref.sha256),)
    assert b"".join(media.stream(ref)) == data
    assert checking.damaged == ()


def test_verification_repairs_what_the_store_finds_damaged(checking: FakeStoreThatChecks) -> None:
    media, data = MediaStore(checking), bytes(9 * MIB)
    record, small = upload(media, data), upload(media, b"small")
    ArtifactStore(checking).put("acme", small.ref.sha256, ARTIFACT, b"derived")
    checking.damaged = (
        digests_key("acme", record.ref.sha256),
        derived_prefix("acme", small.ref.sha256) + ARTIFACT,
        f"files/acme/{small.ref.id}.json",
    )
    assert verify_store(checking, media, repair=True).found == {
        "damaged record": 1,
        "missing or damaged digests": 1,
        "damaged derived artifact": 1,
    }
    checking.damaged = ()
    assert verify_store(checking, media, repair=False).findings == ()
    assert media.read(media.get("acme", small.ref.id).ref) == b"small"
    checking.damaged = (record.ref.blob_key,)
    assert verify_store(checking, media, repair=True).found == {"damaged blob": 1, "lost medium": 1}


SHA256 = "0" * 64
STRANGE = [
    *("digests/acme/x", "derived/acme/x/y", "quarantine/acme/x/y", "trash/acme/x/y", "uploads/x", "parts/x"),
    *(f"refs/a+b/{SHA256}/file-{'0' * 32}", f"files/a+b/file-{'0' * 32}.json", f"digests/acme/{SHA256[1:]}"),
    *(f"uploads/a+b/upload_{'0' * 32}.json", f"fingerprints/a+b/file-{'0' * 32}-{'0' * 16}"),
    *(f"trash/a b/{SHA256}/ff", f"digests/a b/{SHA256}", f"files/a b/file-{'0' * 32}.json", "staging/a b"),
]


@pytest.mark.parametrize("key", STRANGE)
def test_strange_names_in_the_bucket_stop_nothing(tmp_path: Path, key: str) -> None:
    store = LocalObjectStore(tmp_path / "store")
    path = tmp_path / "store" / "objects" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert content_of(key) is None
    media = MediaStore(store, clock=lambda: time.time() + 1e8)
    media.receive("acme", io.BytesIO(b"never committed"), "x/y", 100)
    kept = upload(media, b"kept")
    store.put("staging/ff", b"x")
    report = verify_store(store, media, repair=False)
    assert report.counts["records"] >= 1
    uploads = UploadStore(store, media, lambda: time.time() + 1e8)
    later = lambda: time.time() + 2e8  # noqa: E731 - a clock
    collected = GarbageCollector(store, MediaStore(store, clock=later), uploads, later, 1000.0).collect()
    assert (collected.references, collected.staged) == (1, 1)
    assert media.read(kept.ref) == b"kept"


def test_a_name_that_lost_half_a_character_is_not_kept(media: MediaStore, store: LocalObjectStore) -> None:
    """One bit in the escape of an emoji, and no answer could name the file any more."""
    ref = media.receive("acme", io.BytesIO(b"x"), "image/png", 10)
    record = media.commit(ref, filename="\N{GRINNING FACE}.png")
    damaged = encode_record(record).replace(b"\\ude00", b"\\u4e00")
    store.put(f"files/acme/{ref.id}.json", damaged)
    report = verify_store(store, media, repair=True, content_type_of=lambda head: f"image/{head.decode()}")
    assert report.found["damaged record"] == 1
    found = media.get("acme", ref.id)
    assert found.ref.content_type == "image/x"
    assert (found.filename or "").encode() == b""


def test_an_upload_at_any_step_of_a_deletion_survives_its_late_try(tmp_path: Path) -> None:
    def attempt(step: int) -> bool:
        store = LocalObjectStore(tmp_path / str(step))
        plain = MediaStore(store)
        first = upload(plain, b"same")
        second: list[MediaRecord] = []
        hook, _ = at_step(step, lambda: second.append(upload(plain, b"same")))
        late = FakeStoreWithLostAnswer(store, hook)
        MediaStore(late).delete("acme", first.ref.id)
        for record in second:
            late.strike()
            assert plain.read(record.ref) == b"same"
        return bool(second)

    assert at_every_step(attempt) > 20
