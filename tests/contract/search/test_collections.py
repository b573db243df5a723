"""Collections as the platform uses them, on local files and on S3, by several engines: made, aliased, dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import search.aliases
from search.config import SearchConfig
from search.engine import SearchEngine
from search.errors import (
    AliasConflict,
    CollectionExists,
    CollectionNotFound,
    DimensionMismatch,
    InvalidQuery,
    ModelMismatch,
    SearchUnavailable,
)
from search.segment_files import _MANIFEST
from search.types import CollectionSpec, IndexSpec, Query, Row, SpaceSpec, Vector

DIMENSIONS = 4


def vector(seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)


def row(document_id: str, seed: int = 0, **fields: Any) -> Row:
    return Row(document_id, "image", vector(seed), **fields)


def ids(engine: SearchEngine, collection: str, **query: Any) -> list[str]:
    answer = engine.search("t", collection, Query(vector(), top_k=1000, **query))
    return sorted(hit.document_id for hit in answer.hits)


@pytest.fixture
def engine(config: SearchConfig) -> SearchEngine:
    return SearchEngine(config)


@pytest.fixture
def other(config: SearchConfig) -> SearchEngine:
    return SearchEngine(config)


SPEC = CollectionSpec(
    (SpaceSpec("default", DIMENSIONS, "clip@1"), SpaceSpec("text", 3)), IndexSpec("hnsw", "int8", 2)
)


def test_made_described_and_listed(engine: SearchEngine, other: SearchEngine) -> None:
    info = engine.create("t", "photos", SPEC)
    assert (info.name, info.spec, info.rows, info.documents, info.aliases) == ("photos", SPEC, 0, 0, ())
    assert other.create("t", "photos", SPEC) == info
    assert other.create("t", "photos", SPEC).created_at_seconds == info.created_at_seconds > 0
    engine.add("t", "photos", [row("a", part_index=n) for n in range(2)] + [row("b")])
    engine.point_alias("t", "mine", "photos")
    found = other.describe("t", "mine")
    assert (found.name, found.rows, found.documents, found.aliases) == ("photos", 3, 2, ("mine",))
    assert found.modalities == {"image": 2}
    assert found.version == engine.describe("t", "photos").version > info.version
    other.add("t", "default", [row("c")])
    other.add("u", "default", [row("c")])
    assert [one.name for one in engine.collections("t")] == ["default", "photos"]
    assert engine.collections("t")[1] == engine.describe("t", "photos")
    assert engine.collections("nobody") == ()
    for name in ("default", "photos"):
        with pytest.raises(CollectionNotFound):
            engine.describe("nobody", name)
    with pytest.raises(CollectionExists):
        other.create("t", "photos", CollectionSpec(SPEC.spaces))
    with pytest.raises(CollectionExists):
        other.create("t", "photos", None)
    assert other.create("t", "default", None).spec.spaces == (SpaceSpec("default", DIMENSIONS),)


@pytest.mark.parametrize(
    "spec",
    [
        CollectionSpec(()),
        CollectionSpec((SpaceSpec("a", 4), SpaceSpec("a", 5))),
        CollectionSpec((SpaceSpec("a b", 4),)),
        CollectionSpec((SpaceSpec("default", 0),)),
        CollectionSpec((SpaceSpec("default", 1 << 20),)),
        CollectionSpec((SpaceSpec("default", 4),), IndexSpec(dimensions=5)),
        CollectionSpec(tuple(SpaceSpec(f"s{n}", 4) for n in range(17))),
    ],
)
def test_what_cannot_be_a_collection(engine: SearchEngine, spec: CollectionSpec) -> None:
    with pytest.raises(InvalidQuery):
        engine.create("t", "photos", spec)
    with pytest.raises(CollectionNotFound):
        engine.describe("t", "photos")


def test_vectors_of_several_spaces(engine: SearchEngine) -> None:
    engine.create("t", "photos", SPEC)
    words = np.array([1, 2, 2], dtype=np.float32)
    engine.add("t", "photos", [row("a", vectors={"text": words}), row("b")])
    (document,) = engine.documents("t", "photos", ["a"])
    np.testing.assert_allclose(document.rows[0].vectors["text"], words / 3, rtol=1e-6)
    answer = engine.search("t", "photos", Query(words, space="text"))
    assert [hit.document_id for hit in answer.hits] == ["a"]
    for bad, error in (
        (row("c", vectors={"text": vector()}), DimensionMismatch),
        (row("c", vectors={"sound": words}), InvalidQuery),
        (row("c", vectors={"default": vector()}), InvalidQuery),
    ):
        with pytest.raises(error):
            engine.add("t", "photos", [bad])
    assert ids(engine, "photos") == ["a", "b"]


def test_vectors_of_another_model_are_refused(config: SearchConfig) -> None:
    old = SearchEngine(replace(config, model="clip@1"))
    new = SearchEngine(replace(config, model="clip@2"))
    unknown = SearchEngine(config)
    old.add("t", "default", [row("a")])
    assert old.describe("t", "default").spec.spaces[0].model == "clip@1"
    for use in (
        lambda: new.add("t", "default", [row("b")]),
        lambda: new.search("t", "default", Query(vector())),
    ):
        with pytest.raises(ModelMismatch, match="clip@1"):
            use()
    unknown.add("t", "default", [row("c", text="any words")])
    assert ids(unknown, "default") == ids(old, "default") == ["a", "c"]
    assert [hit.document_id for hit in new.search("t", "default", Query(text="words")).hits] == ["c"]
    assert new.delete("t", "default", "c") > 0
    new.create("t", "any", CollectionSpec((SpaceSpec("default", DIMENSIONS),)))
    for engine in (old, new, unknown):
        engine.add("t", "any", [row("a")])


def test_an_alias_is_switched_at_once_here_and_soon_elsewhere(
    engine: SearchEngine, other: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add("t", "one", [row("a")])
    engine.add("t", "two", [row("b")])
    with pytest.raises(CollectionNotFound):
        ids(engine, "live")
    for name, expected in (("one", ["a"]), ("two", ["b"]), ("one", ["a"])):
        engine.point_alias("t", "live", name)
        assert ids(engine, "live") == expected
    now = 0.0
    late = SearchEngine(other._config)
    late._catalogue._aliases = search.aliases.Aliases(late._location, clock=lambda: now)
    assert ids(late, "live") == ["a"]
    engine.point_alias("t", "live", "two")
    assert ids(engine, "live") == ["b"]
    now = search.aliases.SEEN_ELSEWHERE_SECONDS + 0.001
    assert ids(late, "live") == ["b"]
    version = engine.add("t", "live", [row("c")])  # everything goes through an alias
    assert ids(late, "two", min_version=version) == ["b", "c"]
    assert [one.document_id for one in engine.scroll("t", "live", None, 10, None)] == ["b", "c"]
    engine.delete("t", "live", "b")
    assert ids(engine, "two") == ["c"]
    assert engine.drop_alias("t", "live")
    assert not engine.drop_alias("t", "live")
    with pytest.raises(CollectionNotFound):
        ids(engine, "live")
    assert ids(engine, "two") == ["c"]


def test_names_that_clash(engine: SearchEngine, other: SearchEngine) -> None:
    engine.add("t", "one", [row("a")])
    engine.point_alias("t", "live", "one")
    with pytest.raises(AliasConflict):
        other.create("t", "live", None)
    engine.add("t", "two", [row("b")])
    with pytest.raises(AliasConflict):
        other.point_alias("t", "two", "one")
    for name in ("live", "missing"):  # an alias is of a collection, not of an alias
        with pytest.raises(CollectionNotFound):
            other.point_alias("t", "further", name)
    assert not engine.drop("t", "live")
    assert ids(engine, "live") == ["a"]
    for bad in ("", "a/b", ".x", "a b"):
        with pytest.raises(InvalidQuery):
            engine.point_alias("t", bad, "one")
        with pytest.raises(InvalidQuery):
            engine.drop_alias("t", bad)
        with pytest.raises(InvalidQuery):
            engine.drop("t", bad)


def test_a_dropped_collection_is_gone_for_everyone(engine: SearchEngine, other: SearchEngine) -> None:
    engine.add("t", "photos", [row("a"), row("b")])
    engine.point_alias("t", "mine", "photos")
    engine.point_alias("t", "kept", "photos")
    assert ids(other, "photos") == ["a", "b"]
    assert engine.drop("t", "photos")
    assert not engine.drop("t", "photos")
    uses: list[Callable[[SearchEngine], object]] = [
        lambda one: ids(one, "photos"),
        lambda one: one.documents("t", "photos", ["a"]),
        lambda one: one.delete("t", "photos", "a"),
        lambda one: one.describe("t", "photos"),
    ]
    for one in (other, engine):
        for use in uses:
            with pytest.raises(CollectionNotFound):
                use(one)
    assert engine.collections("t") == ()
    with pytest.raises(CollectionNotFound):
        ids(engine, "mine")
    engine.add("t", "photos", [row("c")])  # another one of that name
    assert ids(other, "photos") == ["c"]
    assert engine.describe("t", "photos").aliases == ()
    assert engine.drop("t", "photos")
    version = other.add("t", "photos", [row("d")])
    assert ids(engine, "photos", min_version=version) == ["d"]


def test_a_default_that_nobody_made(engine: SearchEngine) -> None:
    assert ids(engine, "default") == []
    assert engine.search("t", "default", Query(text="x")).score_kind == "bm25"
    assert engine.search("t", "default", Query(vector(), text="x")).score_kind == "reciprocal_rank"
    assert engine.documents("t", "default", ["a"]) == ()
    assert engine.scroll("t", "default", None, 10, None) == ()
    assert engine.known_contents("t", "default", ["0" * 64]) == {}
    assert engine.clusters("t", "default", 3, None) == ()
    assert not engine.drop("t", "default")
    engine.add("t", "photos", [row("a")])
    engine.point_alias("t", "default", "photos")
    assert ids(engine, "default") == ["a"]


def test_known_contents_and_clusters(engine: SearchEngine) -> None:
    engine.add("t", "default", [row("a", content_hash="a" * 64), row("b", 1, content_hash="b" * 64)])
    assert engine.known_contents("t", "default", ["a" * 64, "c" * 64]) == {"a" * 64: "a"}
    clusters = engine.clusters("t", "default", 2, None)
    assert sorted(cluster.representatives for cluster in clusters) == [("a",), ("b",)]
    with pytest.raises(InvalidQuery):
        engine.clusters("t", "default", 0, None)


def test_a_vacuum_after_a_drop_that_was_cut_short(
    config: SearchConfig, engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add("t", "photos", [row("a", text="swordfish")])
    engine.add("t", "others", [row("b")])
    records = engine._location.records
    uid = engine.opened("t", "photos").table.uid
    kept = f"search/segments/t/{engine.opened('t', 'others').table.uid}/{_MANIFEST}"
    records.put(f"search/segments/t/{uid}/x", b"segment")
    records.put(kept, b"segment")

    class Killed(BaseException):
        pass

    def die(_: object) -> int:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("search.table.remove_all_old_versions", die)
        with pytest.raises(Killed):
            engine.drop("t", "photos")
    later = SearchEngine(config, clock=lambda: time.time() + 1e6)
    with pytest.raises(CollectionNotFound):
        ids(later, "photos")
    assert later.vacuum() > 0
    assert [info.key for info in records.list("search/segments/")] == [kept]
    assert ids(later, "others") == ["b"]


def test_racing_collections_of_one_name_get_one_spec(config: SearchConfig) -> None:
    specs = [CollectionSpec(SPEC.spaces, IndexSpec("flat" if number % 2 else "hnsw")) for number in range(4)]
    barrier = threading.Barrier(4)

    def work(number: int) -> CollectionSpec | None:
        engine = SearchEngine(config)
        barrier.wait(timeout=30)
        try:
            return engine.create("t", "photos", specs[number]).spec
        except CollectionExists:
            return None

    with ThreadPoolExecutor(4) as pool:
        made = [spec for spec in pool.map(work, range(4), timeout=60) if spec is not None]
    assert set(made) == {SearchEngine(config).describe("t", "photos").spec}


def test_a_store_that_is_away(config: SearchConfig, engine: SearchEngine) -> None:
    engine.add("t", "photos", [row("a")])
    engine.point_alias("t", "mine", "photos")
    key = "search/aliases/t/mine"
    engine._location.records.put(key, b"damaged")
    with pytest.raises(SearchUnavailable, match="alias"):
        ids(SearchEngine(config), "mine")
    engine.point_alias("t", "mine", "photos")
    assert ids(SearchEngine(config), "mine") == ["a"]
