"""Many media received and committed together are as if one by one, on every store."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from fake_object_store import FakeStoreWithHooks

from storage.errors import ObjectTooLarge, StoreUnavailable
from storage.keys import quarantine_prefix
from storage.local import LocalObjectStore
from storage.many import TakesMany, put_all_if_absent
from storage.media import MediaStore
from storage.media_batches import commit_all, receive_all
from storage.objects import ObjectStore
from storage.s3.store import S3ObjectStore


@pytest.fixture(params=["local", "one by one", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        return S3ObjectStore(request.getfixturevalue("s3_server").config)
    local = LocalObjectStore(tmp_path)
    return local if request.param == "local" else FakeStoreWithHooks(local)


def test_only_the_local_store_has_a_way_of_its_own(store: ObjectStore) -> None:
    assert isinstance(store, TakesMany) == isinstance(store, LocalObjectStore)


def test_objects_are_put_unless_taken(store: ObjectStore) -> None:
    store.put("a/1", b"old")
    objects = [("a/1", b"new"), ("a/2", io.BytesIO(b"two")), ("b/c/d", b"")]
    assert put_all_if_absent(store, objects) == [False, True, True]
    assert [store.get(key) for key, _ in objects] == [b"old", b"two", b""]
    assert put_all_if_absent(store, []) == []


def test_media_come_back_as_they_were(store: ObjectStore) -> None:
    media = MediaStore(store)
    bodies = [b"one", b"two", b"one", b"three" * (2 << 20)]  # the last is stored with digests, by itself
    streams = [(io.BytesIO(body), "image/png") for body in bodies]
    refs = receive_all(media, "t", streams, 100 << 20)
    assert len({ref.id for ref in refs}) == 4
    assert [media.read(ref) for ref in refs] == bodies
    assert media.find_by_content("t", refs[0].sha256, "inline") is None
    records = commit_all(media, [(ref, f"{number}.png") for number, ref in enumerate(refs)])
    assert [media.get("t", ref.id) for ref in refs] == records
    assert [(one.purpose, one.expires_at_seconds) for one in records] == [("inline", None)] * 4
    media.delete("t", refs[0].id)
    assert media.read(refs[2]) == b"one"  # needed by the other


def test_a_damaged_content_is_healed(store: ObjectStore) -> None:
    media = MediaStore(store)
    (ref,) = receive_all(media, "t", [(io.BytesIO(b"good"), "image/png")], 100)
    store.put(ref.blob_key, b"evil")
    store.put(quarantine_prefix("t", ref.sha256) + "mark", b"evil")
    receive_all(media, "t", [(io.BytesIO(b"good"), "image/png"), (io.BytesIO(b"other"), "image/png")], 100)
    assert media.read(ref) == b"good"


def test_nothing_is_kept_of_a_group_that_fails(tmp_path: Path) -> None:
    store = FakeStoreWithHooks(LocalObjectStore(tmp_path))
    media = MediaStore(store)
    streams = [(io.BytesIO(b"small"), "image/png"), (io.BytesIO(b"too large"), "image/png")]
    with pytest.raises(ObjectTooLarge):
        receive_all(media, "t", streams, 6)
    assert list(store.list("")) == []

    def fail(when: str, name: str, key: str) -> None:
        if when == "before" and name == "put_if_absent" and key.startswith("blobs/"):
            raise StoreUnavailable("The store is away.")

    store.hook = fail
    with pytest.raises(StoreUnavailable):
        receive_all(media, "t", [(io.BytesIO(b"small"), "image/png")], 6)
    assert list(store.list("")) == []
