"""What only the S3 store does: parts, links, tiers, pages, many installations in one bucket. On a real server."""

from __future__ import annotations

import io
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from s3_server import BUCKET, S3Server

import storage.s3.multipart
import storage.s3.store
from storage.backends import open_object_store
from storage.config import StorageConfig
from storage.errors import InvalidKey, ObjectNotFound, ObjectTooLarge, StoreUnavailable
from storage.local import LocalObjectStore
from storage.s3.store import S3ObjectStore
from storage.types import TierPolicy

REPOSITORY = Path(__file__).resolve().parents[2]
LARGE = bytes(range(251)) * 80_000  # 20 MB: three parts


@pytest.fixture
def store(s3_server: S3Server) -> Iterator[S3ObjectStore]:
    store = S3ObjectStore(s3_server.config)
    yield store
    store.close()


@pytest.fixture(scope="module")
def client(s3_server: S3Server) -> Iterator[Any]:
    client = s3_server.client()
    yield client
    client.close()


def full(store: S3ObjectStore, key: str) -> str:
    return store._config.prefix + key


@pytest.mark.parametrize("size", [(8 << 20) - 1, 8 << 20, (8 << 20) + 1, 24 << 20])
def test_sizes_around_the_parts_borders(store: S3ObjectStore, size: int) -> None:
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert store.put_if_absent("stream", io.BytesIO(body))
    assert store.get("stream") == body
    store.put("stream", body)
    assert store.head("stream").size_bytes == size
    with store.open("stream", size - 10) as stream:
        assert stream.read() == body[-10:]


def test_a_taken_key_spares_sending_a_large_body(store: S3ObjectStore) -> None:
    store.put("key", b"there")

    class Watched(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.most = max(self.most, self.tell())
            return data

    stream = Watched(LARGE)
    assert not store.put_if_absent("key", stream)
    assert stream.most <= 8 << 20


def test_a_stream_that_gives_little_at_a_time_fills_whole_parts(store: S3ObjectStore, client: Any) -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 700_001))

    assert store.put_if_absent("key", Trickle(LARGE))
    assert store.get("key") == LARGE
    assert client.head_object(Bucket=BUCKET, Key=full(store, "key"))["ETag"].strip('"').endswith("-3")


def test_more_than_the_server_can_hold(store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.s3.multipart, "_MAX_PARTS", 2)
    with pytest.raises(ObjectTooLarge):
        store.put("key", io.BytesIO(LARGE))
    assert list(store.list("")) == []


def test_a_copy_beyond_the_limit_of_one_request_goes_in_parts(
    store: S3ObjectStore, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.s3.store, "_COPY_LIMIT_BYTES", 10 << 20)
    monkeypatch.setattr(storage.s3.multipart, "_COPY_PART_BYTES", 6 << 20)
    store.put("staging/source", LARGE)
    assert store.copy_if_absent("staging/source", "target")
    assert store.get("target") == LARGE
    assert client.head_object(Bucket=BUCKET, Key=full(store, "target"))["ETag"].strip('"').endswith("-4")
    store.put("staging/source", LARGE[::-1])
    assert not store.copy_if_absent("staging/source", "target")
    assert store.get("target") == LARGE


def test_installations_share_a_bucket(s3_server: S3Server) -> None:
    config = s3_server.config
    inner = replace(config, prefix=f"{config.prefix}inner")
    one, two = S3ObjectStore(config), S3ObjectStore(inner)
    two.put("a/key", b"two")
    assert [info.key for info in two.list("a/")] == ["a/key"]
    assert [info.key for info in one.list("")] == ["inner/a/key"]
    with pytest.raises(ObjectNotFound):
        one.get("a/key")
    with pytest.raises(InvalidKey):
        two.put("/".join(["x" * 200] * 5 + ["y" * 10]), b"")
    one.close()
    two.close()


def test_listings_longer_than_a_page(
    store: S3ObjectStore, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(25):
        store.put(f"k/{number:03}", b"x")
    real = store._connection.call

    def small_pages(operation: str, **parameters: Any) -> dict[str, Any]:
        if operation == "list_objects_v2":
            parameters["MaxKeys"] = 10
        return real(operation, **parameters)

    monkeypatch.setattr(store._connection, "call", small_pages)
    assert [info.key for info in store.list("k/")] == [f"k/{number:03}" for number in range(25)]
    assert [info.key for info in store.list("k/", after="k/011")] == [f"k/{n:03}" for n in range(12, 25)]


def test_storage_classes_are_tiers(store: S3ObjectStore, client: Any) -> None:
    for name, tier in {"STANDARD_IA": "warm", "GLACIER_IR": "cold", "STANDARD": "hot"}.items():
        client.put_object(Bucket=BUCKET, Key=full(store, "blobs/x"), Body=b"x", StorageClass=name)
        assert store.head("blobs/x").tier == tier
        assert [info.tier for info in store.list("blobs/")] == [tier]


def test_a_server_without_lifecycle_transitions_says_so(store: S3ObjectStore) -> None:
    with pytest.raises(StoreUnavailable, match="did not take the lifecycle rules for warm and cold blobs"):
        store.apply_tiers(TierPolicy(warm_after_days=30, cold_after_days=90))


def test_lifecycle_rules_are_set_once_beside_others(s3_server: S3Server, client: Any) -> None:
    bucket = "with-other-rules"
    client.create_bucket(Bucket=bucket)
    others = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 7}}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [others]})
    store = S3ObjectStore(replace(s3_server.config, bucket=bucket, prefix="inst"))
    written = []
    store._connection._quick.meta.events.register(
        "before-call.s3.PutBucketLifecycleConfiguration", lambda **_: written.append(1)
    )
    for _ in range(3):
        store.apply_tiers(TierPolicy())
    assert len(written) == 1
    rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rules[0] == others
    assert [rule["Filter"]["Prefix"] for rule in rules] == ["logs/", "inst/staging/"]
    with pytest.raises(StoreUnavailable):
        store.apply_tiers(TierPolicy(cold_after_days=90))
    assert client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    store.close()


def test_parts_of_stale_uploads_are_removed(
    store: S3ObjectStore, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = client.create_multipart_upload(Bucket=BUCKET, Key=full(store, "blobs/key"))
    others = client.create_multipart_upload(Bucket=BUCKET, Key=full(store, "backup/of/somebody/else"))

    def uploads() -> list[str]:
        found = client.list_multipart_uploads(Bucket=BUCKET, Prefix=store._config.prefix)
        return sorted(upload["UploadId"] for upload in found.get("Uploads", []))

    store.apply_tiers(TierPolicy())
    assert uploads() == sorted([created["UploadId"], others["UploadId"]])
    later = datetime.now(UTC) + timedelta(days=2)
    monkeypatch.setattr("storage.s3.store.time.time", later.timestamp)
    store.apply_tiers(TierPolicy())
    assert uploads() == [others["UploadId"]]


@pytest.mark.parametrize("filename", ["photo.jpg", 'a "b"\\c%.png', "Grüße 写真\r\nX-Evil: 1.mp4", ""])
def test_links_serve_an_attachment_to_anyone_and_nothing_else(store: S3ObjectStore, filename: str) -> None:
    store.put("blobs/key", b"0123456789")
    link = store.download_url("blobs/key", 60, "image/jpeg", filename)
    assert link is not None
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in link
    with urllib.request.urlopen(link, timeout=20) as answer:  # noqa: S310 - of the test's own server
        assert answer.read() == b"0123456789"
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert "X-Evil" not in answer.headers
        disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="')
    assert disposition.isascii()
    store.put("blobs/kez", b"secret")
    for other in (
        link.replace("blobs/key", "blobs/kez"),
        link.replace("image%2Fjpeg", "text%2Fhtml"),
        link.split("?")[0],
    ):
        assert other != link
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(other, timeout=20)  # noqa: S310 - of the test's own server


def test_links_name_the_public_address(s3_server: S3Server) -> None:
    store = S3ObjectStore(replace(s3_server.config, public_endpoint_url="https://media.example.org"))
    link = store.download_url("key", 10**9, "text/plain", "x")
    assert link is not None
    assert link.startswith(f"https://media.example.org/{BUCKET}/")
    assert f"X-Amz-Expires={7 * 24 * 3600}&" in link
    store.close()


def test_the_settings_choose_the_backend(s3_server: S3Server, tmp_path: Path) -> None:
    config = StorageConfig(tmp_path / "objects", tmp_path / "spool", cold_root=tmp_path / "cold")
    local = open_object_store(config)
    assert isinstance(local, LocalObjectStore)
    s3 = open_object_store(replace(config, s3=s3_server.config))
    assert isinstance(s3, S3ObjectStore)
    for opened in (local, s3):
        opened.probe()
        opened.put("key", b"x")
        assert opened.get("key") == b"x"
    s3.close()


UPLOADER = """
import io, os, pickle, resource, sys
store = pickle.loads(bytes.fromhex(sys.argv[1]))
store.probe()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
class Endless(io.RawIOBase):
    left = 200 << 20
    def read(self, size=-1):
        size = min(size, self.left)
        self.left -= size
        return os.urandom(1024) * (size // 1024)
assert store.put_if_absent("large", Endless())
assert store.copy_if_absent("large", "copy")
with store.open("copy") as stream:
    while stream.read(1 << 20):
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_large_objects_need_little_memory(store: S3ObjectStore) -> None:
    import pickle

    done = subprocess.run(
        [sys.executable, "-c", UPLOADER, pickle.dumps(store).hex()],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=100,
        check=True,
    )
    assert store.head("copy").size_bytes == 200 << 20
    assert int(done.stdout) < 100_000, "KiB more than before"
    store.delete("large")
    store.delete("copy")
