"""`manymodal verify`: the store and the collections together, from settings as a user gives them."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from s3_server import S3Server
from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import NothingStored
from deploy.settings import Settings, load_settings
from deploy.verify import verify_platform
from search.engine import SearchEngine
from search.types import Query, Row
from storage.assembly import Storage, open_storage


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"data_dir": tmp_path / "data"})


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings.storage_config(), settings.secret_bytes())


def stored(storage: Storage, content: bytes = b"bytes") -> str:
    ref = storage.media.receive("default", io.BytesIO(content), "image/png", 1 << 20)
    return storage.media.commit(ref, filename="a.png").ref.id


def indexed(settings: Settings, *media_ids: str) -> SearchEngine:
    engine = SearchEngine(settings.search_config())
    rows = [Row(f"doc-{i}", "image", np.ones(384, np.float32), media_id=i) for i in media_ids]
    engine.add("default", "photos", rows)
    return engine


def found(engine: SearchEngine) -> list[str]:
    hits = engine.search("default", "photos", Query(np.ones(384, np.float32), top_k=10)).hits
    return sorted(str(hit.media_id) for hit in hits)


def test_a_sound_platform_is_clean(settings: Settings, storage: Storage) -> None:
    media_id = stored(storage)
    indexed(settings, media_id)
    verification = verify_platform(settings, repair=True)
    assert verification.clean
    assert (verification.store.findings, verification.dangling) == ((), ())


def test_search_entries_without_medium_are_found_and_removed(settings: Settings, storage: Storage) -> None:
    kept, lost = stored(storage, b"one"), stored(storage, b"two")
    engine = indexed(settings, kept, lost)
    storage.media.delete("default", lost)
    checked = verify_platform(settings, repair=False)
    assert not checked.clean
    assert checked.dangling[0].media_ids == (lost,)
    assert found(engine) == sorted([kept, lost])
    repaired = verify_platform(settings, repair=True)
    assert repaired.clean
    assert repaired.dangling[0].removed_documents == 1
    assert found(engine) == [kept]
    assert verify_platform(settings, repair=False).clean


def test_collections_in_a_bucket_are_walked_too(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = asdict(s3_server.config)
    settings = load_settings({"data_dir": tmp_path / "data", "storage": {"s3": bucket}})
    storage = open_storage(settings.storage_config(), settings.secret_bytes())
    kept, lost = stored(storage, b"one"), stored(storage, b"two")
    engine = indexed(settings, kept, lost)
    storage.media.delete("default", lost)
    assert verify_platform(settings, repair=True).dangling[0].media_ids == (lost,)
    assert found(engine) == [kept]
    assert verify_platform(settings, repair=False).clean


def test_a_damaged_blob_is_reported_and_the_command_fails(settings: Settings, storage: Storage) -> None:
    media_id = stored(storage)
    key = storage.media.get("default", media_id).ref.blob_key
    path = settings.storage_config().root / "objects" / key
    path.chmod(0o600)
    path.write_bytes(b"other")
    options = ["verify", "--data-dir", str(settings.data_dir)]
    result = CliRunner().invoke(app, [*options, "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["clean"] is False
    assert stored(storage) != media_id  # the same bytes again heal it
    assert CliRunner().invoke(app, options).exit_code == 0


def test_a_damaged_record_does_not_hide_what_else_is_found(settings: Settings, storage: Storage) -> None:
    media_id = stored(storage)
    indexed(settings, media_id)
    (record,) = (settings.storage_config().root / "objects" / "files").rglob("*.json")
    record.chmod(0o600)
    record.write_bytes(b"{}")
    checked = verify_platform(settings, repair=False)
    assert not checked.clean
    assert checked.dangling == ()


def test_a_folder_without_a_store_is_not_called_clean(tmp_path: Path) -> None:
    missing = tmp_path / "typo"
    with pytest.raises(NothingStored, match="--data-dir"):
        verify_platform(load_settings({"data_dir": missing}), repair=True)
    assert not missing.exists()


def test_expired_media_that_are_not_removed_yet_are_no_finding(settings: Settings, storage: Storage) -> None:
    ref = storage.media.receive("default", io.BytesIO(b"bytes"), "image/png", 1 << 20)
    storage.media.commit(ref, filename="a.png", expires_at_seconds=1)
    lost = stored(storage, b"two")
    engine = indexed(settings, ref.id, lost)
    assert verify_platform(settings, repair=False).clean
    storage.media.delete("default", lost)
    assert verify_platform(settings, repair=True).dangling[0].media_ids == (lost,)
    assert found(engine) == [ref.id]
    assert verify_platform(settings, repair=False).clean
