"""Media records: random ids in order of time, expiry, listings, and commits that come late."""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from fake_object_store import Crash, FakeStoreWithHooks, at_step
from media_uploads import Unseekable, keys, upload

import storage.intake
from storage.artifacts import ArtifactStore
from storage.errors import CorruptObject, InvalidKey, MediaNotFound, ObjectTooLarge, StoreUnavailable
from storage.fingerprints import FingerprintIndex
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.types import INLINE

NO_ID = "file-" + "0" * 32


class Clock:
    """A clock to be set."""

    def __init__(self, now: float = 1234.9) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def media(store: LocalObjectStore, clock: Clock) -> MediaStore:
    return MediaStore(store, clock=clock)


def test_a_record_says_what_was_stored(media: MediaStore, store: ObjectStore, clock: Clock) -> None:
    ref = media.receive("acme", io.BytesIO(b"bytes"), "image/png", 5)
    assert re.fullmatch(r"file-[0-9a-f]{32}", ref.id)
    assert (ref.tenant, ref.size_bytes, ref.content_type) == ("acme", 5, "image/png")
    assert ref.sha256 == hashlib.sha256(b"bytes").hexdigest()
    with pytest.raises(MediaNotFound):
        media.get("acme", ref.id)
    record = media.commit(
        ref,
        filename='Fête \N{GRINNING FACE} "quoted" \' \\.png',
        purpose="vision",
        expires_at_seconds=5000,
        perceptual_hash="0123456789abcdef",
        metadata={"n": [1, {"ü": None}]},
    )
    assert (record.created_at_seconds, record.purpose, record.expires_at_seconds) == (1234, "vision", 5000)
    assert record.metadata == {"n": [1, {"ü": None}]}
    assert media.get("acme", ref.id) == record
    assert MediaStore(store, clock=clock).get("acme", ref.id) == record
    assert media.read(ref) == b"bytes"
    assert store.get(ref.blob_key) == b"bytes"


def test_a_corrected_content_type_is_committed(media: MediaStore) -> None:
    ref = replace(media.receive("acme", io.BytesIO(b"x"), "text/plain", 5), content_type="image/gif")
    media.commit(ref, filename=None)
    assert media.get("acme", ref.id).ref.content_type == "image/gif"


def test_the_same_bytes_twice_are_two_ids_and_one_blob(media: MediaStore, store: ObjectStore) -> None:
    one, two = upload(media, b"same"), upload(media, b"same")
    assert one.ref.id != two.ref.id
    assert one.ref.blob_key == two.ref.blob_key
    assert len(keys(store, "blobs/")) == 1
    other_tenant = upload(media, b"same", tenant="other")
    assert len(keys(store, "blobs/")) == 2
    assert other_tenant.ref.blob_key != one.ref.blob_key


def test_foreign_missing_malformed_and_expired_ids_answer_exactly_alike(
    media: MediaStore, clock: Clock
) -> None:
    record = upload(media, b"secret")
    expired = upload(media, b"old", expires_at_seconds=2000)
    clock.now = 2000.0
    attempts = [
        ("other", record.ref.id),
        ("acme", expired.ref.id),
        ("acme", NO_ID),
        ("acme", ""),
        ("acme", "../../other/media-x"),
        ("acme", record.ref.id + "\n"),
        ("acme", record.ref.id.upper()),
        ("acme", "file-" + "0" * 10_000),
    ]
    messages = set()
    for tenant, media_id in attempts:
        with pytest.raises(MediaNotFound) as caught:
            media.get(tenant, media_id)
        messages.add((type(caught.value), caught.value.args))
    assert len(messages) == 1
    assert media.get("acme", record.ref.id) == record


@pytest.mark.parametrize("seekable", [True, False])
def test_too_many_bytes_keep_nothing(media: MediaStore, store: ObjectStore, seekable: bool) -> None:
    def stream(data: bytes) -> BinaryIO:
        return io.BytesIO(data) if seekable else cast(BinaryIO, Unseekable(data))

    with pytest.raises(ObjectTooLarge, match="10 bytes"):
        media.receive("acme", stream(b"x" * 11), "image/png", 10)
    assert keys(store) == []
    assert media.receive("acme", stream(b"x" * 10), "image/png", 10).size_bytes == 10


@pytest.mark.parametrize("tenant", ["", "a/b", "..", ".x", "a b", "x" * 129, "ä"])
def test_tenant_names_are_checked(media: MediaStore, store: ObjectStore, tenant: str) -> None:
    for use in (
        lambda: upload(media, b"x", tenant=tenant),
        lambda: media.get(tenant, NO_ID),
        lambda: media.list(tenant),
        lambda: media.delete(tenant, NO_ID),
        lambda: media.find_by_content(tenant, "0" * 64, "vision"),
    ):
        with pytest.raises(InvalidKey):
            use()
    assert keys(store) == []


def test_streams_that_cannot_seek_spool_through_the_given_folder(tmp_path: Path, store: ObjectStore) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    media = MediaStore(store, spool_folder=spool)
    data = np.random.default_rng(7).bytes(9 << 20)
    assert media.read(upload(media, data, seekable=False).ref) == data
    assert list(spool.iterdir()) == []
    spool.rmdir()
    with pytest.raises(StoreUnavailable, match="no room"):
        upload(media, data + b"!", seekable=False)
    # what can go back to its start needs no second copy
    assert media.read(upload(media, data + b"!").ref) == data + b"!"


def test_a_seekable_stream_is_taken_from_where_it_stands(media: MediaStore) -> None:
    stream = io.BytesIO(b"headerbody")
    stream.seek(6)
    assert media.read(media.receive("acme", stream, "x/y", 4)) == b"body"


def test_large_streams_go_through_staging_and_leave_nothing_there(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.intake, "STAGED_FROM_BYTES", 9 << 20)
    seen: list[tuple[str, str]] = []
    hooked = FakeStoreWithHooks(store, lambda when, name, key: seen.append((name, key.partition("/")[0])))
    media = MediaStore(hooked)
    data = np.random.default_rng(8).bytes(23 << 20)
    ref = media.receive("acme", cast(BinaryIO, Unseekable(data)), "x/y", 1 << 30)
    assert ref.sha256 == hashlib.sha256(data).hexdigest()
    assert ("put", "staging") in seen
    assert ("copy_if_absent", "blobs") in seen
    assert media.read(ref) == data
    assert keys(store, "staging/") == []
    with pytest.raises(ObjectTooLarge):
        media.receive("other", cast(BinaryIO, Unseekable(data)), "x/y", len(data) - 1)
    assert keys(store, "staging/") == keys(store, "refs/other/") == []


def test_errors_of_the_stream_pass_through_and_keep_nothing(media: MediaStore, store: ObjectStore) -> None:
    class Broken(Unseekable):
        def readinto(self, buffer: memoryview) -> int:
            raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        media.receive("acme", cast(BinaryIO, Broken(b"")), "x/y", 10)
    assert keys(store) == []


def filled(media: MediaStore, clock: Clock, count: int = 7) -> list[str]:
    """Ids of uploads at different times, oldest first."""
    ids = []
    for number in range(count):
        clock.now += 10
        ids.append(upload(media, bytes([number % 3]), purpose="ab"[number % 2]).ref.id)
    return ids


@pytest.mark.parametrize("newest_first", [True, False])
def test_lists_are_in_order_of_time_and_paged(media: MediaStore, clock: Clock, newest_first: bool) -> None:
    ids = filled(media, clock)
    upload(media, b"other", tenant="acme2")
    wanted = ids[::-1] if newest_first else ids

    def listed(**options: Any) -> list[str]:
        return [record.ref.id for record in media.list("acme", newest_first=newest_first, **options)]

    assert listed() == wanted
    assert listed(limit=3) == wanted[:3]
    assert listed(limit=0) == []
    for at, media_id in enumerate(wanted):
        assert listed(after=media_id) == wanted[at + 1 :]
        assert listed(after=media_id, limit=2) == wanted[at + 1 : at + 3]
    assert listed(purpose="a") == [i for i in wanted if ids.index(i) % 2 == 0]
    assert listed(purpose="b", after=wanted[2], limit=1) == [
        next(i for i in wanted[3:] if ids.index(i) % 2 == 1)
    ]
    media.delete("acme", wanted[2])
    assert listed(after=wanted[2]) == wanted[3:]
    assert media.list("nobody") == []
    with pytest.raises(MediaNotFound):
        listed(after="../x")


def test_lists_leave_out_expired_and_inline_media(media: MediaStore, clock: Clock) -> None:
    inline = upload(media, b"1", purpose=INLINE)
    expiring = upload(media, b"2", expires_at_seconds=2000)
    kept = upload(media, b"3")
    assert {record.ref.id for record in media.list("acme")} == {expiring.ref.id, kept.ref.id}
    assert media.list("acme", purpose=INLINE) == [inline]
    assert list(media.expired()) == []
    clock.now = 2000.0
    assert media.list("acme") == [kept]
    assert list(media.expired()) == [expiring]
    assert media.delete("acme", expiring.ref.id).record == expiring
    assert list(media.expired()) == []


def test_a_page_reads_few_records(store: LocalObjectStore, clock: Clock) -> None:
    gets: list[str] = []
    hooked = FakeStoreWithHooks(store, lambda when, name, key: gets.append(key) if name == "get" else None)
    media = MediaStore(hooked, clock=clock)
    filled(media, clock, 40)
    gets.clear()
    assert len(media.list("acme", limit=2)) == 2
    assert len(media.list("acme", limit=2, newest_first=False)) == 2
    assert len(gets) <= 2 * 2 * 8


def test_extend_gives_another_time(media: MediaStore, clock: Clock) -> None:
    record = upload(media, b"x", expires_at_seconds=2000)
    extended = media.extend(record, 3000)
    clock.now = 2500.0
    assert media.get("acme", record.ref.id) == extended
    assert media.extend(extended, None).expires_at_seconds is None
    clock.now = 1e9
    # Who had read it before must not take that back.
    assert media.extend(record, 2_000_000_000).expires_at_seconds is None
    assert media.get("acme", record.ref.id).expires_at_seconds is None


def test_what_has_expired_is_not_extended(media: MediaStore, clock: Clock) -> None:
    record = upload(media, b"x", expires_at_seconds=2000)
    clock.now = 2001.0
    with pytest.raises(MediaNotFound):
        media.extend(record, 3000)


@pytest.mark.parametrize("step", range(40))
def test_an_extension_at_any_step_of_a_deletion_brings_nothing_back(
    store: LocalObjectStore, clock: Clock, step: int
) -> None:
    record = upload(MediaStore(store, clock=clock), b"x", expires_at_seconds=2000)

    def extend() -> None:
        with suppress(MediaNotFound):
            MediaStore(store, clock=clock).extend(record, 3000)

    hook, seen = at_step(step, extend)
    MediaStore(FakeStoreWithHooks(store, hook), clock=clock).delete("acme", record.ref.id)
    assert keys(store) == []
    if step == 39:
        assert seen() <= 39  # all steps were tried


@pytest.mark.parametrize("step", range(4))
def test_a_deletion_at_any_step_of_an_extension_brings_nothing_back(
    store: LocalObjectStore, clock: Clock, step: int
) -> None:
    plain = MediaStore(store, clock=clock)
    record = upload(plain, b"x", expires_at_seconds=2000)
    hook, seen = at_step(step, lambda: plain.delete("acme", record.ref.id))
    with suppress(MediaNotFound):
        MediaStore(FakeStoreWithHooks(store, hook), clock=clock).extend(record, 3000)
    assert keys(store, "files/") == []
    assert seen() > step


def test_find_by_content(media: MediaStore, store: ObjectStore, clock: Clock) -> None:
    one = upload(media, b"photo", purpose=INLINE, expires_at_seconds=2000)
    other = upload(media, b"photo", purpose="vision")
    assert media.find_by_content("acme", one.ref.sha256, INLINE) == one
    assert media.find_by_content("acme", one.ref.sha256, "vision") == other
    assert media.find_by_content("acme", one.ref.sha256, "batch") is None
    assert media.find_by_content("other", one.ref.sha256, INLINE) is None
    clock.now = 2000.0
    assert media.find_by_content("acme", one.ref.sha256, INLINE) is None
    store.delete(one.ref.blob_key)
    assert media.find_by_content("acme", one.ref.sha256, "vision") is None


def test_the_last_deletion_takes_everything(media: MediaStore, store: ObjectStore) -> None:
    data = bytes(9 << 20)
    one, two = upload(media, data), upload(media, data)
    artifacts = ArtifactStore(store)
    artifacts.put("acme", one.ref.sha256, "ab" * 32, b"transcript")
    FingerprintIndex(store).add("acme", one.ref.id, "0" * 16)
    assert media.delete("acme", one.ref.id).artifact_keys == ()
    with pytest.raises(MediaNotFound):
        media.get("acme", one.ref.id)
    assert keys(store, "fingerprints/") == []
    assert media.read(two.ref) == data
    assert artifacts.get("acme", one.ref.sha256, "ab" * 32) == b"transcript"
    deleted = media.delete("acme", two.ref.id)
    assert (deleted.record, deleted.artifact_keys) == (two, ("ab" * 32,))
    assert keys(store) == []
    with pytest.raises(MediaNotFound):
        media.read(two.ref)
    with pytest.raises(MediaNotFound):
        media.delete("acme", two.ref.id)


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"null", b"\xff", b'{"id": 1}'])
def test_a_damaged_record_is_corrupt_not_missing(
    media: MediaStore, store: ObjectStore, damage: bytes
) -> None:
    record, kept = upload(media, b"x"), upload(media, b"y")
    store.put(f"files/acme/{record.ref.id}.json", damage)
    with pytest.raises(CorruptObject):
        media.get("acme", record.ref.id)
    assert media.list("acme") == [kept]


def test_every_flipped_bit_of_a_record_is_noticed(media: MediaStore, store: ObjectStore) -> None:
    record = upload(media, b"x", metadata={"a": "b"}, expires_at_seconds=9999)
    key = f"files/acme/{record.ref.id}.json"
    encoded = store.get(key)
    for bit in range(0, len(encoded) * 8, 3):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << bit % 8
        store.put(key, bytes(damaged))
        with pytest.raises(CorruptObject):
            media.get("acme", record.ref.id)


def test_a_record_moved_to_another_id_or_tenant_is_corrupt(media: MediaStore, store: ObjectStore) -> None:
    record = upload(media, b"x")
    encoded = store.get(f"files/acme/{record.ref.id}.json")
    other = "file-" + "1" * 32
    store.put(f"files/acme/{other}.json", encoded)
    store.put(f"files/evil/{record.ref.id}.json", encoded)
    for tenant, media_id in (("acme", other), ("evil", record.ref.id)):
        with pytest.raises(CorruptObject):
            media.get(tenant, media_id)


UPLOAD_STEPS = [(when, call) for call in ("put", "put_if_absent") for when in ("before", "after")]


@pytest.mark.parametrize("step", UPLOAD_STEPS)
def test_a_failed_upload_takes_itself_back(store: LocalObjectStore, step: tuple[str, str]) -> None:
    def fail(when: str, name: str, key: str) -> None:
        if (when, name) == step:
            raise ConnectionError

    media = MediaStore(FakeStoreWithHooks(store, fail))
    with pytest.raises(ConnectionError):
        upload(media, b"x")
    assert keys(store) == []
    kept = upload(MediaStore(store), b"x")
    with pytest.raises(ConnectionError):
        upload(media, b"x")
    assert MediaStore(store).read(kept.ref) == b"x"
    assert len(keys(store)) == 3


def test_abandoning_never_raises_a_storage_error(
    store: LocalObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    def down(when: str, name: str, key: str) -> None:
        if name == "delete":
            raise StoreUnavailable("down")

    media = MediaStore(FakeStoreWithHooks(store, down))
    ref = media.receive("acme", io.BytesIO(b"x"), "x/y", 10)
    media.abandon(ref)
    assert "down" in caplog.text
    MediaStore(store).abandon(ref)
    assert keys(store) == []


def test_metadata_that_json_lacks_are_refused(media: MediaStore, store: ObjectStore) -> None:
    ref = media.receive("acme", io.BytesIO(b"x"), "x/y", 10)
    for metadata in ({"x": float("nan")}, {"x": b"bytes"}):
        with pytest.raises((ValueError, TypeError)):
            media.commit(ref, filename=None, metadata=metadata)
    assert keys(store, "files/") == []


def test_a_crash_between_receiving_and_committing_leaves_an_id_that_nobody_finds(
    store: LocalObjectStore, clock: Clock
) -> None:
    def die(when: str, name: str, key: str) -> None:
        if key.startswith("files/"):
            raise Crash

    hooked = MediaStore(FakeStoreWithHooks(store, die), clock=clock)
    with pytest.raises(Crash):
        upload(hooked, b"x")
    assert MediaStore(store, clock=clock).list("acme") == []


def test_listing_files_does_not_read_the_records_of_inline_media(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = MediaStore(LocalObjectStore(tmp_path))
    for number in range(20):
        upload(media, b"photo %d" % number, purpose=INLINE)
    file = upload(media, b"file")
    read: list[str] = []
    get = LocalObjectStore.get
    monkeypatch.setattr(LocalObjectStore, "get", lambda store, key: (read.append(key), get(store, key))[1])
    assert media.list("acme") == [file]
    assert len(read) == 1


def test_what_was_received_as_a_file_is_not_committed_as_inline(tmp_path: Path) -> None:
    media = MediaStore(LocalObjectStore(tmp_path))
    ref = media.receive("acme", io.BytesIO(b"x"), "image/png", 10)
    with pytest.raises(ValueError, match="inline"):
        media.commit(ref, filename=None, purpose=INLINE)
