"""The platform on a real S3 server and a real Valkey: what is shared, what survives, what fails and how."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis
from s3_server import S3Server
from valkey_server import ValkeyServer

from cluster.conftest import RunningPlatform, client_of, running
from deploy.demo.samples import Samples
from storage.assembly import assemble
from storage.backends import open_object_store
from storage.config import S3Config, StorageConfig

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    server = ValkeyServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> S3Config:
    return s3_server.config


@pytest.fixture(scope="module")
def settings(bucket: S3Config, valkey: ValkeyServer) -> dict[str, str]:
    """What two machines that share everything are given."""
    s3 = {
        "BUCKET": bucket.bucket,
        "PREFIX": bucket.prefix,
        "ENDPOINT_URL": bucket.endpoint_url or "",
        "ACCESS_KEY_ID": bucket.access_key_id or "",
        "SECRET_ACCESS_KEY": bucket.secret_access_key or "",
    }
    return {
        "SECRET": "5a" * 32,
        "STORAGE__REDIS_URL": valkey.url,
        **{f"STORAGE__S3__{name}": value for name, value in s3.items()},
    }


def keys(server: S3Server, bucket: S3Config, folder: str) -> list[str]:
    found = server.client().list_objects_v2(Bucket=bucket.bucket, Prefix=f"{bucket.prefix}{folder}/")
    return [entry["Key"] for entry in found.get("Contents", [])]


def ask(client: openai.OpenAI, part: dict[str, Any]) -> dict[str, Any]:
    """What the answer says of its one medium."""
    content = [part, {"type": "text", "text": "What is this?"}]
    answer = client.chat.completions.create(
        model="default", messages=[{"role": "user", "content": content}], max_tokens=8
    )
    assert answer.model_extra is not None
    (medium,) = answer.model_extra["manymodal"]["media"]
    return dict(medium)


def photo_part(photo: Path) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(photo.read_bytes()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def test_shared_storage_from_the_first_day_to_the_last(
    models_dir: Path,
    tmp_path: Path,
    s3_server: S3Server,
    bucket: S3Config,
    valkey: ValkeyServer,
    settings: dict[str, str],
    samples: Samples,
) -> None:
    photo = samples.pictures["cat"]
    with running(tmp_path / "first", **settings) as platform, client_of(platform) as client:
        file_id = _everything_shares_one_upload(platform, client, photo)
        assert keys(s3_server, bucket, "blobs")
        with redis.Redis.from_url(valkey.url) as looking:
            assert looking.dbsize() > 0
        _redis_may_die(client, valkey, photo)
        _the_store_may_hang(client, s3_server, photo)
    assert not (tmp_path / "first" / "store").exists()

    # The second day: another machine, an empty Redis, and nobody is asked to look at the photo again.
    with running(tmp_path / "second", **settings) as platform, client_of(platform) as client:
        assert set(ask(client, photo_part(photo))["cache"].values()) == {"hit"}
        assert client.files.retrieve(file_id).filename == photo.name
        assert client.files.content(file_id).read() == photo.read_bytes()
        link = httpx.post(f"{platform.base_url}/v1/files/{file_id}/link", json={}).json()["url"]
        assert httpx.get(link).content == photo.read_bytes(), "the store itself serves the link"
        for file in [*client.files.list(), *client.files.list(purpose="inline")]:
            assert client.files.delete(file.id).deleted
    assert keys(s3_server, bucket, "files") == []
    _verify_is_clean(tmp_path / "second", settings)
    # The upload that the hanging store refused may have left a reference: garbage, once the grace is over.
    config = StorageConfig(tmp_path / "none", tmp_path / "spool", s3=bucket)
    later = assemble(
        config, open_object_store(config), b"s" * 32, lambda: time.time() + 2 * config.grace_seconds
    )
    later.garbage.collect()
    for folder in ("blobs", "derived", "refs", "fingerprints", "digests", "trash", "staging", "quarantine"):
        assert keys(s3_server, bucket, folder) == [], folder


def _everything_shares_one_upload(platform: RunningPlatform, client: openai.OpenAI, photo: Path) -> str:
    file = client.files.create(file=photo, purpose="vision")
    assert set(ask(client, {"type": "file", "file": {"file_id": file.id}})["cache"].values()) == {"miss"}
    assert set(ask(client, photo_part(photo))["cache"].values()) == {"hit"}
    documents = f"{platform.base_url}/v1/collections/default/documents"
    version = httpx.post(documents, json={"media_id": file.id}, timeout=60).json()["version"]
    query = {"query": {"type": "text", "content": "a cat"}, "top_k": 1, "min_version": version}
    (hit,) = httpx.post(f"{platform.base_url}/v1/search", json=query, timeout=60).json()["results"]
    assert hit["media_id"] == file.id
    return str(file.id)


def _redis_may_die(client: openai.OpenAI, valkey: ValkeyServer, photo: Path) -> None:
    valkey.kill()
    assert set(ask(client, photo_part(photo))["cache"].values()) == {"hit"}
    valkey.start()


def _the_store_may_hang(client: openai.OpenAI, s3_server: S3Server, photo: Path) -> None:
    s3_server.pause()
    try:
        with pytest.raises(openai.InternalServerError) as refused:
            client.files.create(file=photo, purpose="vision")
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) > 0
        said = client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": "Say hello."}], max_tokens=4
        )
        assert said.choices[0].message.content, "text needs no store"
    finally:
        s3_server.resume()
    for _ in range(30):  # the breaker lets a try through every five seconds
        try:
            client.files.create(file=photo, purpose="vision")
            return
        except openai.InternalServerError:
            time.sleep(1)
    pytest.fail("the platform did not recover after the store came back")


def _verify_is_clean(data_dir: Path, settings: dict[str, str]) -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("manymodal"), "verify", "--data-dir", data_dir],
        env={**os.environ, **{f"MANYMODAL_{name}": value for name, value in settings.items()}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Clean." in ended.stdout
