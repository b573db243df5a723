"""What a platform on a real S3 server and a real Valkey shares with others: what survives, what fails and how."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import httpx
import openai
import pytest
from fake_platform import serving
from fake_services import FakeEngine, FakeSearchIndex
from s3_server import S3Server
from valkey_server import ValkeyServer

from cluster.conftest import RunningPlatform
from deploy.settings import load_settings
from search.engine import SearchEngine
from serving.app import create_app
from serving.services import Services
from storage.assembly import assemble, open_storage
from storage.backends import open_object_store
from storage.config import S3Config, StorageConfig

__all__ = [
    "another_machine",
    "ask",
    "everything_shares_one_upload",
    "keys",
    "nothing_is_left",
    "photo_part",
    "redis_may_die",
    "settings_of",
    "the_store_may_hang",
    "verify_is_clean",
]


def settings_of(bucket: S3Config, valkey: ValkeyServer) -> dict[str, str]:
    """What all machines are given that share everything. Times are short: what hangs is found out soon."""
    s3 = {
        "BUCKET": bucket.bucket,
        "PREFIX": bucket.prefix,
        "ENDPOINT_URL": bucket.endpoint_url or "",
        "ACCESS_KEY_ID": bucket.access_key_id or "",
        "SECRET_ACCESS_KEY": bucket.secret_access_key or "",
        "READ_TIMEOUT_SECONDS": "3",
        "MAX_ATTEMPTS": "2",
    }
    return {
        "SECRET": "5a" * 32,
        "STORAGE__REDIS_URL": valkey.url,
        **{f"STORAGE__S3__{name}": value for name, value in s3.items()},
    }


@contextlib.contextmanager
def another_machine(folder: Path, settings: dict[str, str]) -> Iterator[openai.OpenAI]:
    """A client of a gateway with these settings that has seen nothing. Its encoders must not be asked."""
    folder.mkdir()
    with mock.patch.dict(os.environ, _environment(settings)):
        loaded = load_settings({"data_dir": folder})
        config = loaded.gateway_config()
        storage = open_storage(loaded.storage_config(), config.cache_secret)
        search = FakeSearchIndex(SearchEngine(loaded.search_config()))
    unasked: Any = _Unasked()
    services = Services(unasked, search, FakeEngine(), unasked)
    platform: Any = SimpleNamespace(app=create_app(services, storage, config))
    with (
        serving(platform) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


class _Unasked:
    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: object) -> None:
            raise AssertionError(f"{name} was asked for")

        return refuse


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


def everything_shares_one_upload(platform: RunningPlatform, client: openai.OpenAI, photo: Path) -> str:
    file = client.files.create(file=photo, purpose="vision")
    assert set(ask(client, {"type": "file", "file": {"file_id": file.id}})["cache"].values()) == {"miss"}
    assert set(ask(client, photo_part(photo))["cache"].values()) == {"hit"}
    documents = f"{platform.base_url}/v1/collections/default/documents"
    version = httpx.post(documents, json={"media_id": file.id}, timeout=60).json()["version"]
    query = {"query": {"type": "text", "content": "a cat"}, "top_k": 1, "min_version": version}
    (hit,) = httpx.post(f"{platform.base_url}/v1/search", json=query, timeout=60).json()["results"]
    assert hit["media_id"] == file.id
    return str(file.id)


def redis_may_die(client: openai.OpenAI, valkey: ValkeyServer, photo: Path) -> None:
    valkey.kill()
    assert set(ask(client, photo_part(photo))["cache"].values()) == {"hit"}
    valkey.start()


def the_store_may_hang(client: openai.OpenAI, s3_server: S3Server, photo: Path) -> None:
    s3_server.pause()
    try:
        with pytest.raises(openai.InternalServerError) as refused:
            client.files.create(file=photo, purpose="vision")
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) > 0
        said = client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": "Say hello."}], max_tokens=4
        )
        assert said.usage is not None
        assert said.usage.completion_tokens > 0, "text needs no store"
    finally:
        s3_server.resume()
    for _ in range(30):  # the breaker lets a try through every five seconds
        try:
            client.files.create(file=photo, purpose="vision")
            return
        except openai.InternalServerError:
            time.sleep(1)
    pytest.fail("the platform did not recover after the store came back")


def verify_is_clean(data_dir: Path, settings: dict[str, str]) -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("manymodal"), "verify", "--data-dir", data_dir],
        env={**os.environ, **_environment(settings)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Clean." in ended.stdout


def nothing_is_left(server: S3Server, bucket: S3Config, folder: Path) -> None:
    """No object of any medium is in the bucket, once garbage has been collected: what a store that hangs refused
    may have left a reference, which is garbage when the grace is over.
    """
    config = StorageConfig(folder / "none", folder / "spool", s3=bucket)
    later = assemble(
        config, open_object_store(config), b"s" * 32, lambda: time.time() + 2 * config.grace_seconds
    )
    later.garbage.collect()
    for kind in ("blobs", "derived", "refs", "fingerprints", "digests", "trash", "staging", "quarantine"):
        assert keys(server, bucket, kind) == [], kind


def _environment(settings: dict[str, str]) -> dict[str, str]:
    return {f"MANYMODAL_{name}": value for name, value in settings.items()}
