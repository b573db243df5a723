"""Collections as callers use them: durability, isolation, versions, refusals, threads."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.collection import Collection
from search.config import SearchConfig
from search.engine import SearchEngine
from search.errors import CollectionNotFound, DimensionMismatch, InvalidQuery, SearchUnavailable
from search.filters import Equals
from search.types import Query, Row, Vector

DIMENSIONS = 8


def vector(seed: int) -> Vector:
    return np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)


def row(document_id: str, seed: int = 0, **fields: Any) -> Row:
    return Row(document_id, fields.pop("modality", "image"), vector(seed), **fields)


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return SearchConfig(tmp_path / "search", dimensions=DIMENSIONS)


@pytest.fixture
def engine(config: SearchConfig) -> SearchEngine:
    return SearchEngine(config, clock=lambda: 1000.5)


def ids(engine: SearchEngine, tenant: str = "t", collection: str = "default", **query: Any) -> list[str]:
    hits = engine.search(tenant, collection, Query(vector(0), top_k=1000, **query)).hits
    return sorted(hit.document_id for hit in hits)


def reader(engine: SearchEngine, collection: str = "default") -> Collection:
    found = engine._catalogue.find("t", collection)
    assert found is not None
    return found.reader


def test_a_hit_carries_what_was_added(engine: SearchEngine) -> None:
    metadata = {"user_id": 'O\'Neil "x" \\ \N{GRINNING FACE}', "n": 1, "deep": {"ü": [None, 1.5]}}
    added = row(
        "a",
        1,
        part_index=4,
        start_seconds=2.0,
        end_seconds=3.5,
        text="Grüße",
        media_id="m",
        metadata=metadata,
    )
    engine.add("t", "default", [added])
    (hit,) = engine.search("t", "default", Query(vector(1) * 7)).hits
    assert (hit.document_id, hit.modality, hit.media_id, hit.text) == ("a", "image", "m", "Grüße")
    assert hit.metadata == metadata
    assert hit.created_at_seconds == 1000.5
    assert hit.score == pytest.approx(1.0, abs=1e-6)
    assert hit.score <= 1.0
    (part,) = hit.parts
    assert (part.part_index, part.start_seconds, part.end_seconds) == (4, 2.0, 3.5)
    assert (part.score, part.text) == (hit.score, "Grüße")


def test_everything_survives_a_restart(config: SearchConfig, engine: SearchEngine) -> None:
    for number in range(5):
        engine.add("t", "default", [row(f"d{number}", number)])
    engine.delete("t", "default", "d3")
    before = engine.search("t", "default", Query(vector(0)))
    assert SearchEngine(config).search("t", "default", Query(vector(0))) == before
    assert len(before.hits) == 4


def test_two_engines_see_each_others_writes(config: SearchConfig, engine: SearchEngine) -> None:
    other = SearchEngine(config)
    version = engine.add("t", "default", [row("a")])
    assert ids(other, min_version=version) == ["a"]
    version = other.add("t", "default", [row("b")])
    assert ids(engine, min_version=version) == ["a", "b"]
    version = other.delete("t", "default", "a")
    assert ids(engine, min_version=version) == ["b"]


def test_tenants_and_collections_are_apart(engine: SearchEngine) -> None:
    engine.add("one", "default", [row("a")])
    engine.add("two", "default", [row("b")])
    engine.add("one", "photos", [row("c")])
    assert ids(engine, "one") == ["a"]
    assert ids(engine, "two") == ["b"]
    assert ids(engine, "one", "photos") == ["c"]
    with pytest.raises(CollectionNotFound):
        ids(engine, "two", "photos")


def test_a_missing_collection(engine: SearchEngine, config: SearchConfig) -> None:
    assert ids(engine) == []
    assert engine.delete("t", "default", "a") == 0
    for use in (lambda: ids(engine, "t", "photos"), lambda: engine.delete("t", "photos", "a")):
        with pytest.raises(CollectionNotFound):
            use()
    assert list(config.root.iterdir()) == []  # asking makes nothing


def test_adding_again_replaces_the_document(engine: SearchEngine) -> None:
    engine.add("t", "default", [row("a", n, part_index=n, modality="video") for n in range(5)] + [row("b")])
    version = engine.add("t", "default", [row("a", 9, text="new")])
    (hit,) = engine.search("t", "default", Query(vector(9), top_k=1, min_version=version)).hits
    assert (hit.document_id, hit.modality, hit.text, len(hit.parts)) == ("a", "image", "new", 1)
    assert ids(engine) == ["a", "b"]
    assert ids(engine, modalities=("video",)) == []


def test_parts_that_share_an_index_are_all_kept(engine: SearchEngine) -> None:
    frames = [row("v", n, part_index=n, modality="video") for n in range(2)]
    speech = [row("v", 10 + n, part_index=n, modality="audio", text=f"said {n}") for n in range(2)]
    engine.add("t", "default", frames + speech)
    (hit,) = engine.search("t", "default", Query(vector(0))).hits
    assert len(hit.parts) == 4
    (spoken,) = engine.search("t", "default", Query(vector(0), modalities=("audio",))).hits
    assert {part.text for part in spoken.parts} == {"said 0", "said 1"}


def test_nothing_deleted_comes_back(engine: SearchEngine) -> None:
    engine.add("t", "default", [row(f"d{n}", n) for n in range(10)])
    for number in range(10):
        version = engine.delete("t", "default", f"d{number}")
        assert ids(engine, min_version=version) == sorted(f"d{n}" for n in range(number + 1, 10))
    engine.add("t", "default", [row("d0")])
    assert ids(engine) == ["d0"]


@pytest.mark.parametrize(
    "nasty", ["it's", "' OR 1=1 --", 'q"', "back\\", "%", "\N{GRINNING FACE}", "a\nb", "a\0b", " "]
)
def test_any_text_can_be_an_id(engine: SearchEngine, nasty: str) -> None:
    engine.add("t", "default", [row(nasty, text=nasty, metadata={nasty: nasty}), row("other")])
    engine.add("t", "default", [row(nasty, text=nasty, metadata={nasty: nasty})])
    assert ids(engine, where=Equals(nasty, nasty)) == [nasty]
    engine.delete("t", "default", nasty)
    assert ids(engine) == ["other"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "a b", ".hidden", "x" * 129, "ä", "a\0", "a\n", "-x"]
)
def test_names_are_checked(engine: SearchEngine, config: SearchConfig, name: str) -> None:
    for tenant, collection in ((name, "default"), ("t", name)):
        for use in (
            lambda t=tenant, c=collection: engine.add(t, c, [row("a")]),
            lambda t=tenant, c=collection: engine.search(t, c, Query(vector(0))),
            lambda t=tenant, c=collection: engine.delete(t, c, "a"),
        ):
            with pytest.raises(InvalidQuery):
                use()
    assert list(config.root.iterdir()) == []


def test_vectors_are_checked(engine: SearchEngine) -> None:
    for wrong in (np.zeros(DIMENSIONS + 1), np.ones(0), np.ones((1, DIMENSIONS)), np.ones(())):
        with pytest.raises(DimensionMismatch):
            engine.add("t", "default", [Row("a", "image", wrong.astype(np.float32))])
        with pytest.raises(DimensionMismatch):
            engine.search("t", "default", Query(wrong.astype(np.float32)))
    bad: list[Vector] = [
        np.zeros(DIMENSIONS, dtype=np.float32),
        np.full(DIMENSIONS, np.nan, dtype=np.float32),
    ]
    bad.append(np.full(DIMENSIONS, np.inf, dtype=np.float32))
    engine.add("t", "default", [row("kept")])
    for wrong_vector in bad:
        with pytest.raises(InvalidQuery):
            engine.add("t", "default", [row("b"), Row("a", "image", wrong_vector)])
        with pytest.raises(InvalidQuery):
            engine.search("t", "default", Query(wrong_vector))
    assert ids(engine) == ["kept"]
    tiny = np.full(DIMENSIONS, 1e-30, dtype=np.float32)
    assert engine.search("t", "default", Query(tiny)).hits[0].document_id == "kept"


def test_a_collection_of_other_dimensions_says_so(config: SearchConfig, engine: SearchEngine) -> None:
    engine.add("t", "default", [row("a")])
    changed = SearchEngine(SearchConfig(config.root, dimensions=DIMENSIONS * 2))
    with pytest.raises(DimensionMismatch, match="8 dimensions, not 16"):
        changed.add("t", "default", [Row("b", "image", np.ones(DIMENSIONS * 2, dtype=np.float32))])
    with pytest.raises(DimensionMismatch, match="8 dimensions, not 16"):
        changed.search("t", "default", Query(np.ones(DIMENSIONS * 2, dtype=np.float32)))


@pytest.mark.parametrize(
    "bad",
    [
        {"metadata": {"x": float("nan")}},
        {"metadata": {"x": object()}},
        {"metadata": {1: "x"}},
        {"metadata": {"x": "y" * 70_000}},
        {"text": "\ud800"},
        {"part_index": 1 << 40},
        {"media_id": 7},
    ],
)
def test_rows_that_cannot_be_stored_are_refused_whole(engine: SearchEngine, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidQuery):
        engine.add("t", "default", [row("good"), row("bad", **bad)])
    assert ids(engine) == []


def test_other_refusals(engine: SearchEngine) -> None:
    engine.add("t", "default", [row("a")])
    for query in (
        Query(vector(0), top_k=0),
        Query(vector(0), top_k=1001),
        Query(vector(0), where=Equals("x", float("inf"))),
        Query(vector(0), where=Equals("x", object())),
    ):
        with pytest.raises(InvalidQuery):
            engine.search("t", "default", query)
    for document_id in ("", "x" * 513, "\ud800"):
        with pytest.raises(InvalidQuery):
            engine.add("t", "default", [row(document_id)])
        with pytest.raises(InvalidQuery):
            engine.delete("t", "default", document_id)
    with pytest.raises(InvalidQuery):
        engine.add("t", "default", [])


def test_a_version_that_does_not_exist_is_refused(engine: SearchEngine) -> None:
    with pytest.raises(InvalidQuery, match="no version 1"):
        ids(engine, min_version=1)
    assert ids(engine, min_version=0) == []
    version = engine.add("t", "default", [row("a")])
    for _ in range(2):  # with no snapshot yet, and with the newest
        with pytest.raises(InvalidQuery, match=f"no version {version + 1}"):
            ids(engine, min_version=version + 1)
        assert ids(engine, min_version=version) == ["a"]
    with pytest.raises(CollectionNotFound):
        ids(engine, collection="photos", min_version=1)


def test_another_engines_commit_is_seen_by_its_version(config: SearchConfig, engine: SearchEngine) -> None:
    version = engine.add("t", "default", [row("a")])
    assert ids(engine, min_version=version) == ["a"]
    newer = SearchEngine(config).add("t", "default", [row("b")])
    assert ids(engine, min_version=newer) == ["a", "b"]


def test_the_time_of_adding_is_bounded_on_both_sides(config: SearchConfig) -> None:
    now = 0.0
    engine = SearchEngine(config, clock=lambda: now)
    for number in range(5):
        now = float(number)
        engine.add("t", "default", [row(f"d{number}", number)])
    assert ids(engine, created_after_seconds=1.0, created_before_seconds=3.0) == ["d1", "d2"]
    assert ids(engine, created_before_seconds=0.0) == []
    assert ids(engine, created_after_seconds=3.0, created_before_seconds=3.0) == []


def test_folders_made_are_their_owners_alone(config: SearchConfig, engine: SearchEngine) -> None:
    assert stat.S_IMODE(config.root.stat().st_mode) == 0o700


def test_a_refresh_reads_only_the_difference(engine: SearchEngine) -> None:
    engine.add("t", "default", [row(f"d{n}", n) for n in range(200)])
    ids(engine)
    collection = reader(engine)
    assert collection.snapshot.rows_read == 200
    first_segment = collection.snapshot.segments[0]
    engine.add("t", "default", [row("new", 1), row("d5", 2)])
    ids(engine)
    assert collection.snapshot.rows_read == 2
    engine.delete("t", "default", "d6")
    assert len(ids(engine)) == 200
    assert collection.snapshot.rows_read == 0
    assert collection.snapshot.segments[0] is first_segment


def test_many_adds_keep_few_segments(engine: SearchEngine) -> None:
    for number in range(70):
        engine.add("t", "default", [row(f"d{number}", number)])
        assert len(ids(engine)) == number + 1
    collection = reader(engine)
    assert len(collection.snapshot.segments) <= 8
    for number in range(60):
        engine.delete("t", "default", f"d{number}")
    assert len(ids(engine)) == 10
    assert sum(map(len, collection.snapshot.segments)) <= 20  # the dead do not stay in memory


def test_a_root_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SearchUnavailable):
        SearchEngine(SearchConfig(tmp_path / "file" / "search"))


def test_adding_deleting_and_searching_at_once(engine: SearchEngine) -> None:
    """Each writer adds documents and deletes every other one; what it was told must hold for every reader."""
    engine.add("t", "default", [row("always", 0)])
    stop = threading.Event()

    def write(who: int) -> set[str]:
        kept = set()
        for number in range(12):
            name = f"{who}-{number}"
            version = engine.add("t", "default", [row(name, number, part_index=p) for p in range(3)])
            assert name in ids(engine, min_version=version)
            if number % 2:
                version = engine.delete("t", "default", name)
                assert name not in ids(engine, min_version=version)
            else:
                kept.add(name)
        return kept

    def read() -> int:
        searches = 0
        while not stop.is_set():
            hits = engine.search("t", "default", Query(vector(0), top_k=100)).hits
            assert hits[0].document_id == "always" or hits[0].score > 0.999
            for hit in hits:
                assert hit.document_id == "always" or len(hit.parts) == 3  # never half a document
            searches += 1
        return searches

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, who) for who in range(3)]
        try:
            kept = set().union(*(writer.result(timeout=100) for writer in writers))
        finally:
            stop.set()
        assert all(reader.result(timeout=60) > 0 for reader in readers)
    assert set(ids(engine)) == kept | {"always"}
