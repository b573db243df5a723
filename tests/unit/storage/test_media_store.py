"""Media: one blob per content and tenant, random ids, nothing acknowledged lost to a racing deletion."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from storage.artifacts import ArtifactStore
from storage.errors import CorruptObject, InvalidKey, MediaNotFound, ObjectTooLarge, StoreUnavailable
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.objects import Body, ObjectStore
from storage.types import MediaRecord


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "store")


@pytest.fixture
def media(store: LocalObjectStore) -> MediaStore:
    return MediaStore(store, clock=lambda: 1234.9)


def upload(media: MediaStore, data: bytes, tenant: str = "acme", **metadata: Any) -> MediaRecord:
    return media.put(tenant, io.BytesIO(data), "image/png", "photo.png", metadata, max_bytes=1 << 24)


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def test_a_record_says_what_was_stored(media: MediaStore, store: ObjectStore) -> None:
    name = 'Fête \N{GRINNING FACE} "quoted" \' \\.png'
    record = media.put("acme", io.BytesIO(b"bytes"), "image/png", name, {"n": [1, {"ü": None}]}, 5)
    assert re.fullmatch(r"media-[0-9a-f]{32}", record.ref.id)
    assert record.ref.sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert (record.ref.tenant, record.ref.size_bytes, record.ref.content_type) == ("acme", 5, "image/png")
    assert (record.filename, record.created_at_seconds) == (name, 1234)
    assert record.metadata == {"n": [1, {"ü": None}]}
    assert media.get("acme", record.ref.id) == record
    assert MediaStore(store).get("acme", record.ref.id) == record
    assert media.open_bytes(record.ref) == b"bytes"
    assert store.get(record.ref.blob_key) == b"bytes"


def test_the_same_bytes_twice_are_two_ids_and_one_blob(media: MediaStore, store: ObjectStore) -> None:
    one, two = upload(media, b"same"), upload(media, b"same")
    assert one.ref.id != two.ref.id
    assert one.ref.blob_key == two.ref.blob_key
    assert len(keys(store, "blobs/")) == 1
    other_tenant = upload(media, b"same", tenant="other")
    assert len(keys(store, "blobs/")) == 2
    assert other_tenant.ref.blob_key != one.ref.blob_key


def test_an_id_says_nothing_about_the_content(media: MediaStore) -> None:
    ids = [upload(media, b"x").ref.id for _ in range(20)]
    assert len(set(ids)) == 20


def test_foreign_missing_and_malformed_ids_answer_exactly_alike(media: MediaStore) -> None:
    record = upload(media, b"secret")
    attempts = [
        ("other", record.ref.id),
        ("acme", "media-" + "0" * 32),
        ("acme", ""),
        ("acme", "../../other/media-x"),
        ("acme", record.ref.id + "\n"),
        ("acme", record.ref.id.upper()),
        ("acme", "media-" + "0" * 10_000),
    ]
    messages = set()
    for tenant, media_id in attempts:
        for use in (media.get, media.delete):
            with pytest.raises(MediaNotFound) as caught:
                use(tenant, media_id)
            messages.add((type(caught.value), caught.value.args))
    assert len(messages) == 1
    assert media.get("acme", record.ref.id) == record


def test_too_many_bytes_keep_nothing(media: MediaStore, store: ObjectStore) -> None:
    with pytest.raises(ObjectTooLarge, match="10 bytes"):
        media.put("acme", io.BytesIO(b"x" * 11), "image/png", None, {}, max_bytes=10)
    assert keys(store) == []
    media.put("acme", io.BytesIO(b"x" * 10), "image/png", None, {}, max_bytes=10)


@pytest.mark.parametrize("tenant", ["", "a/b", "..", ".x", "a b", "x" * 129, "ä"])
def test_tenant_names_are_checked(media: MediaStore, store: ObjectStore, tenant: str) -> None:
    with pytest.raises(InvalidKey):
        upload(media, b"x", tenant=tenant)
    with pytest.raises(InvalidKey):
        media.get(tenant, "media-" + "0" * 32)
    assert keys(store) == []


def test_large_media_spool_through_the_given_folder(tmp_path: Path, store: ObjectStore) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    media = MediaStore(store, spool_folder=spool)
    data = np.random.default_rng(7).bytes(9 << 20)
    assert media.open_bytes(upload(media, data).ref) == data
    assert list(spool.iterdir()) == []
    spool.rmdir()
    with pytest.raises(StoreUnavailable, match="no room"):
        upload(media, data + b"!")


def test_list(media: MediaStore) -> None:
    records = [upload(media, bytes([number % 3])) for number in range(7)]
    upload(media, b"other", tenant="acme2")
    assert list(media.list("acme")) == sorted(records, key=lambda record: record.ref.id)
    assert list(media.list("nobody")) == []


def test_the_last_deletion_takes_blob_and_artifacts(media: MediaStore, store: ObjectStore) -> None:
    one, two = upload(media, b"same"), upload(media, b"same")
    artifacts = ArtifactStore(store)
    artifacts.put("acme", one.ref.sha256, "ab" * 32, b"transcript")
    media.delete("acme", one.ref.id)
    with pytest.raises(MediaNotFound):
        media.get("acme", one.ref.id)
    assert media.open_bytes(two.ref) == b"same"
    assert artifacts.get("acme", one.ref.sha256, "ab" * 32) == b"transcript"
    media.delete("acme", two.ref.id)
    assert keys(store) == []
    with pytest.raises(MediaNotFound):
        media.open_bytes(two.ref)
    with pytest.raises(MediaNotFound):
        media.delete("acme", two.ref.id)


def test_flipped_bits_are_never_served(tmp_path: Path, media: MediaStore, store: LocalObjectStore) -> None:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)
    chance = np.random.default_rng(seed)
    data = chance.bytes(5000)
    record = upload(media, data, note="x")
    blob = tmp_path / "store" / "objects" / record.ref.blob_key
    for _ in range(300):
        damaged = bytearray(data)
        damaged[chance.integers(len(data))] ^= 1 << int(chance.integers(8))
        blob.write_bytes(damaged)
        with pytest.raises(CorruptObject):
            media.open_bytes(record.ref)
    blob.write_bytes(data[:-1])
    with pytest.raises(CorruptObject):
        media.open_bytes(record.ref)


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"null", b"\xff", b'{"id": 1}'])
def test_a_damaged_record_is_corrupt_not_missing(
    media: MediaStore, store: ObjectStore, damage: bytes
) -> None:
    record = upload(media, b"x")
    store.put(f"files/acme/{record.ref.id}.json", damage)
    with pytest.raises(CorruptObject):
        media.get("acme", record.ref.id)


def test_a_record_moved_to_another_id_or_tenant_is_corrupt(media: MediaStore, store: ObjectStore) -> None:
    record = upload(media, b"x")
    encoded = store.get(f"files/acme/{record.ref.id}.json")
    other = "media-" + "1" * 32
    store.put(f"files/acme/{other}.json", encoded)
    store.put(f"files/evil/{record.ref.id}.json", encoded)
    for tenant, media_id in (("acme", other), ("evil", record.ref.id)):
        with pytest.raises(CorruptObject):
            media.get(tenant, media_id)


class FakeStoreWithHooks:
    """A real store that runs a hook before or after one kind of call on keys with a given start."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.hooks: dict[tuple[str, str, str], Callable[[], None]] = {}

    def _around(self, name: str, key: str, call: Callable[[], Any]) -> Any:
        self._run("before", name, key)
        result = call()
        try:
            self._run("after", name, key)
        except Crash:
            if name == "open":
                result.close()
            raise
        return result

    def _run(self, when: str, name: str, key: str) -> None:
        for (hook_when, hook_name, prefix), hook in list(self.hooks.items()):
            if (hook_when, hook_name) == (when, name) and key.startswith(prefix):
                del self.hooks[hook_when, hook_name, prefix]
                hook()

    def probe(self) -> None:
        self._store.probe()

    def get(self, key: str) -> bytes:
        return self._around("get", key, lambda: self._store.get(key))  # type: ignore[no-any-return]

    def open(self, key: str) -> BinaryIO:
        return self._around("open", key, lambda: self._store.open(key))  # type: ignore[no-any-return]

    def put(self, key: str, data: Body) -> None:
        self._around("put", key, lambda: self._store.put(key, data))

    def put_if_absent(self, key: str, data: Body) -> bool:
        return self._around("put_if_absent", key, lambda: self._store.put_if_absent(key, data))  # type: ignore[no-any-return]

    def head(self, key: str) -> Any:
        return self._store.head(key)

    def list(self, prefix: str) -> Any:
        return self._around("list", prefix, lambda: iter(list(self._store.list(prefix))))

    def delete(self, key: str) -> None:
        self._around("delete", key, lambda: self._store.delete(key))


class Crash(Exception):
    pass


def crash() -> None:
    raise Crash


DELETION_STEPS = [
    (when, call, prefix)
    for call, prefix in (
        ("delete", "files/"),
        ("delete", "refs/"),
        ("list", "refs/"),
        ("open", "blobs/"),
        ("put", "trash/"),
        ("delete", "blobs/"),
        ("list", "derived/"),
        ("delete", "trash/"),
    )
    for when in ("before", "after")
]


@pytest.mark.parametrize("step", DELETION_STEPS)
def test_an_upload_at_any_step_of_a_deletion_survives_it(store: LocalObjectStore, step: Any) -> None:
    hooked = FakeStoreWithHooks(store)
    media = MediaStore(hooked)
    first = upload(media, b"same")
    second: list[MediaRecord] = []
    hooked.hooks[step] = lambda: second.append(upload(MediaStore(store), b"same"))
    media.delete("acme", first.ref.id)
    assert len(second) == 1
    assert media.open_bytes(second[0].ref) == b"same"
    assert keys(store, "trash/") == []
    media.delete("acme", second[0].ref.id)
    assert keys(store) == []


@pytest.mark.parametrize("step", DELETION_STEPS)
@pytest.mark.parametrize("upload_step", [*DELETION_STEPS, None])
def test_after_a_crash_at_any_step_recovery_restores_what_is_needed(
    store: LocalObjectStore, step: Any, upload_step: Any
) -> None:
    """An upload at ``upload_step``, then the deleting process dies at ``step``."""
    hooked = FakeStoreWithHooks(store)
    media = MediaStore(hooked)
    first = upload(media, b"same")
    second: list[MediaRecord] = []
    if upload_step is not None and upload_step != step:
        hooked.hooks[upload_step] = lambda: second.append(upload(MediaStore(store), b"same"))
    hooked.hooks[step] = crash
    with suppress(Crash):  # an upload early enough keeps the blob, and later steps are not reached
        media.delete("acme", first.ref.id)
    later = MediaStore(store, clock=lambda: 4e9)
    later.recover()
    for record in second:
        assert later.open_bytes(record.ref) == b"same"
    for record in later.list("acme"):
        assert later.open_bytes(record.ref) == b"same"
    assert keys(store, "trash/") == []


def test_recovery_leaves_a_running_deletions_copy_alone(media: MediaStore, store: ObjectStore) -> None:
    store.put(f"trash/acme/{'0' * 64}/ff", b"young")
    MediaStore(store).recover()
    assert len(keys(store, "trash/")) == 1
    MediaStore(store, clock=lambda: 4e9).recover()
    assert keys(store, "trash/") == []


UPLOAD_STEPS = [
    (when, call, prefix)
    for call, prefix in (("put", "refs/"), ("put_if_absent", "blobs/"), ("put", "files/"))
    for when in ("before", "after")
]


@pytest.mark.parametrize("step", UPLOAD_STEPS)
def test_a_failed_upload_takes_itself_back(store: LocalObjectStore, step: Any) -> None:
    hooked = FakeStoreWithHooks(store)
    hooked.hooks[step] = crash
    with pytest.raises(Crash):
        upload(MediaStore(hooked), b"x")
    assert keys(store) == []
    kept = upload(MediaStore(store), b"x")
    hooked.hooks[step] = crash
    with pytest.raises(Crash):
        upload(MediaStore(hooked), b"x")
    assert MediaStore(store).open_bytes(kept.ref) == b"x"
    assert len(keys(store)) == 3


def test_a_failed_upload_reports_its_own_error_when_taking_back_fails_too(store: LocalObjectStore) -> None:
    hooked = FakeStoreWithHooks(store)

    def unavailable() -> None:
        raise StoreUnavailable("down")

    hooked.hooks["before", "put", "files/"] = crash
    hooked.hooks["before", "delete", "files/"] = unavailable
    with pytest.raises(Crash):
        upload(MediaStore(hooked), b"x")


def test_uploads_and_deletions_of_the_same_bytes_racing(tmp_path: Path) -> None:
    contents = [bytes([number]) * 100 for number in range(3)]

    def work(seed: int) -> list[MediaRecord]:
        media = MediaStore(LocalObjectStore(tmp_path / "store"))
        chance = np.random.default_rng(seed)
        mine: list[MediaRecord] = []
        for _ in range(40):
            if mine and chance.random() < 0.5:
                media.delete("acme", mine.pop(chance.integers(len(mine))).ref.id)
            else:
                mine.append(upload(media, contents[chance.integers(3)]))
        return mine

    with ThreadPoolExecutor(6) as pool:
        kept = [record for records in pool.map(work, range(6)) for record in records]
    store = LocalObjectStore(tmp_path / "store")
    media = MediaStore(store)
    for record in kept:
        assert hashlib.sha256(media.open_bytes(record.ref)).hexdigest() == record.ref.sha256
    assert {record.ref.id for record in media.list("acme")} == {record.ref.id for record in kept}
    assert {key.rpartition("/")[2] for key in keys(store, "blobs/")} == {record.ref.sha256 for record in kept}
    assert keys(store, "trash/") == []
