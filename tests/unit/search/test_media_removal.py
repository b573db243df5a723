"""What was made of a medium leaves all of a tenant's collections, and nothing else does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.config import SearchConfig
from search.engine import SearchEngine
from search.errors import InvalidQuery
from search.types import Query, Row
from serving.deployments.search import SearchDeployment
from serving.services import SearchIndex


def row(document_id: str, media_id: str | None, **fields: Any) -> Row:
    return Row(document_id, "image", np.ones(4, np.float32), media_id=media_id, **fields)


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return SearchConfig(tmp_path / "search", dimensions=4)


@pytest.fixture
def engine(config: SearchConfig) -> SearchEngine:
    engine = SearchEngine(config)
    engine.add("t", "default", [row("m1", "m1"), row("m2", "m2"), row("note", None)])
    engine.add("t", "photos", [row("mine", "m1", part_index=n) for n in range(3)] + [row("m3", "m3")])
    engine.add("t", "other", [row("m3", "m3")])
    engine.add("u", "default", [row("m1", "m1")])
    return engine


def ids(engine: SearchEngine, tenant: str = "t", collection: str = "default") -> list[str]:
    hits = engine.search(tenant, collection, Query(np.ones(4, np.float32), top_k=100)).hits
    return sorted(hit.document_id for hit in hits)


def versions(config: SearchConfig) -> dict[str, int]:
    engine = SearchEngine(config)
    return {path.name: _version(engine, path.name.removesuffix(".lance")) for path in _tables(config)}


def _tables(config: SearchConfig) -> list[Path]:
    return sorted((config.root / "t").iterdir())


def _version(engine: SearchEngine, collection: str) -> int:
    found = engine._catalogue.find("t", collection)
    assert found is not None
    return found.table.latest_version()


def test_documents_die_in_every_collection_whatever_their_ids(
    engine: SearchEngine, config: SearchConfig
) -> None:
    before = versions(config)
    assert engine.delete_media("t", ("m1", "it's", "missing")) == 2
    after = versions(config)
    assert ids(engine) == ["m2", "note"]
    assert ids(engine, collection="photos") == ["m3"]
    assert ids(engine, "u") == ["m1"]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"default.lance", "photos.lance"}
    assert all(after[name] == before[name] + 1 for name in changed)  # one commit each
    assert engine.delete_media("t", ("m1",)) == 0
    assert versions(config) == after


def test_what_media_there_are(engine: SearchEngine) -> None:
    assert engine.tenants() == ("t", "u")
    assert engine.media_ids("t") == {"m1", "m2", "m3"}
    engine.delete_media("t", ("m1", "m2"))
    assert engine.media_ids("t") == {"m3"}
    assert engine.media_ids("nobody") == frozenset()
    assert engine.delete_media("nobody", ("m1",)) == 0
    assert engine.delete_media("t", ()) == 0
    with pytest.raises(InvalidQuery):
        engine.media_ids("../t")


def test_many_collections_close_none_that_is_in_use(
    config: SearchConfig, engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.catalogue._MAX_OPEN_COLLECTIONS", 1)
    few = SearchEngine(config)
    assert ids(few, collection="other") == ["m3"]
    used = few._catalogue.find("t", "other")
    assert few.delete_media("t", ("m3",)) == 2
    assert few._catalogue.find("t", "other") is used
    assert ids(few, collection="other") == []


async def test_over_the_deployment(config: SearchConfig, engine: SearchEngine) -> None:
    index: SearchIndex = SearchDeployment(config)
    assert await index.delete_media("t", ("m1",)) == 2
    assert ids(engine) == ["m2", "note"]


def test_a_vacuum_takes_deleted_rows_off_the_disk(
    config: SearchConfig, engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add("t", "secrets", [row("told", "m9", text="the password is swordfish"), row("kept", "m8")])
    assert engine.delete_media("t", ["m9"]) == 1
    monkeypatch.setattr("search.maintenance._KEEP_VERSIONS", timedelta(0))
    assert engine.vacuum() > 0
    assert engine.vacuum() == 0
    files = [path for path in (config.root / "t" / "secrets.lance").rglob("*") if path.is_file()]
    assert files
    assert not any(b"swordfish" in path.read_bytes() for path in files)
    assert ids(engine, collection="secrets") == ["kept"]
    assert ids(engine, collection="photos") == ["m3", "mine"]
