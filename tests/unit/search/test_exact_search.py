"""Answers against an exact search over dictionaries, for random collections, queries and filters."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

import numpy as np
import pytest
from exact_search import ExactCollection, check_exact, check_plausible
from search_collections import DIMENSIONS, OpenTable, open_table, random_document, random_query

from search.config import SearchConfig
from search.engine import SearchEngine
from search.filters import AllOf, Condition, Equals
from search.hits import MAX_PARTS_PER_HIT
from search.types import IndexSpec, Query, Row

KINDS = {
    "flat": IndexSpec("flat"),
    "ivf": IndexSpec("ivf"),
    "hnsw": IndexSpec("hnsw"),
    "ivf int8": IndexSpec("ivf", "int8"),
    "ivf_pq": IndexSpec("ivf_pq"),
    "ivf binary": IndexSpec("ivf", "binary"),
    "flat int8": IndexSpec("flat", "int8"),
    "hnsw shortened": IndexSpec("hnsw", dimensions=12),
}


@pytest.fixture
def chance() -> np.random.Generator:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)  # shown when the test fails
    return np.random.default_rng(seed)


def test_collections_that_grow_and_shrink(tmp_path: Path, chance: np.random.Generator) -> None:
    now = 0.0
    config = SearchConfig(tmp_path, dimensions=DIMENSIONS)
    engine = SearchEngine(config, clock=lambda: now)
    model = ExactCollection()
    for step in range(25):
        now = float(step)
        if model.ids and chance.random() < 0.3:
            document_id = model.ids[chance.integers(len(model.ids))]
            engine.delete("t", "default", document_id)
            model.delete(document_id)
        else:
            names = {f"d{chance.integers(60)}" for _ in range(int(chance.integers(1, 12)))}
            rows = [row for name in sorted(names) for row in random_document(chance, name)]
            engine.add("t", "default", rows)
            model.add(rows, now)
        fresh = SearchEngine(config)
        for _ in range(10):
            query = random_query(chance, now, model.ids)
            answer = engine.search("t", "default", query)
            check_exact(answer, model, query)
            again = fresh.search("t", "default", query)  # built at once = grown step by step
            assert plain(again) == plain(answer)


def plain(answer: object) -> str:
    return repr(answer)  # vectors among the fields cannot be compared by ==


def test_a_thousand_queries_of_every_kind_of_index(tmp_path: Path, chance: np.random.Generator) -> None:
    """The same documents and queries for all; those that scan are exact, the others find 95 % and tell no lies."""
    centres = chance.standard_normal((40, DIMENSIONS)).astype(np.float32)
    model = ExactCollection()
    tables: dict[str, OpenTable] = {
        name: open_table(tmp_path / name, kind, flat_rows=1000) for name, kind in KINDS.items()
    }
    for now in range(5):
        documents = [random_document(chance, f"d{now}-{n}", centres) for n in range(40)]
        rows = [row for document in documents for row in document]
        model.add(rows, float(now))
        for table in tables.values():
            table.add(rows, float(now))
    readers = {name: table.reader() for name, table in tables.items()}
    for reader in readers.values():
        reader.build_now()
    gone = [model.ids[n] for n in chance.choice(len(model.ids), 20, replace=False)]
    late = [row for n in range(20) for row in random_document(chance, f"late{n}", centres)]
    for document_id in gone:
        model.delete(document_id)
    model.add(late, 6.0)
    for table in tables.values():
        table.table.delete(*gone)
        table.add(late, 6.0)
    found = {name: np.zeros(2, dtype=np.int64) for name in KINDS}
    for number in range(1000):
        query = random_query(chance, 6.0, model.ids)
        names = ["flat", "ivf", "hnsw"] if number % 10 else list(KINDS)
        for name in names:
            answer = readers[name].search(query)
            if name == "flat":
                check_exact(answer, model, query)
            else:
                found[name] += check_plausible(answer, model, query)
    for name, reader in readers.items():
        sizes = [(len(segment), segment.is_indexed) for segment in reader.snapshot.segments]
        assert sizes[0][1], name
        assert sizes[0][0] >= 1000, name
        good, wanted = found[name]
        assert good >= 0.95 * wanted, (name, good, wanted)
        reader.close()


def test_larger_collection_with_narrow_filters(tmp_path: Path, chance: np.random.Generator) -> None:
    table = open_table(tmp_path)
    model = ExactCollection()
    count = 3000
    vectors = chance.standard_normal((count, DIMENSIONS)).astype(np.float32)
    rows = [
        Row(f"d{n:05}", "image", vectors[n], metadata={"tenth": n % 10, "rare": n % 1000})
        for n in range(count)
    ]
    table.add(rows, 5.0)
    model.add(rows, 5.0)
    reader = table.reader()
    conditions: list[Condition | None] = [None, Equals("tenth", 3), Equals("rare", 7)]
    conditions += [AllOf((Equals("rare", 7), Equals("tenth", tenth))) for tenth in (7, 8)]
    for where in conditions:
        for _ in range(5):
            query = Query(chance.standard_normal(DIMENSIONS).astype(np.float32), where=where)
            check_exact(reader.search(query), model, query)


def test_ties_come_in_order_of_id_however_rows_are_spread(tmp_path: Path) -> None:
    vector = np.ones(DIMENSIONS, dtype=np.float32)
    names = [f"d{n:03}" for n in range(120)]
    engine = SearchEngine(SearchConfig(tmp_path, dimensions=DIMENSIONS))
    for start in (80, 0, 40):  # three adds, not in order
        engine.add("t", "default", [Row(name, "image", vector) for name in names[start : start + 40][::-1]])
        engine.search("t", "default", Query(vector))
    for top_k in (1, 3, 7, 60, 200):
        answer = engine.search("t", "default", Query(vector, top_k=top_k))
        assert [hit.document_id for hit in answer.hits] == names[:top_k]
        assert answer.has_more == (top_k < 120)
    page = engine.search("t", "default", Query(vector, top_k=10, offset=55))
    assert [hit.document_id for hit in page.hits] == names[55:65]


def test_one_document_with_many_good_parts_does_not_crowd_out_others(tmp_path: Path) -> None:
    engine = SearchEngine(SearchConfig(tmp_path, dimensions=DIMENSIONS))
    good = np.eye(DIMENSIONS, dtype=np.float32)[0]
    poor = good + 3 * np.eye(DIMENSIONS, dtype=np.float32)[1]
    video = [Row("video", "video", good, part_index=n, start_seconds=float(n)) for n in range(500)]
    photos = [Row(f"photo{n}", "image", poor) for n in range(4)]
    engine.add("t", "default", video + photos)
    hits = engine.search("t", "default", Query(good, top_k=5)).hits
    assert [hit.document_id for hit in hits] == ["video", "photo0", "photo1", "photo2", "photo3"]
    assert [part.part_index for part in hits[0].parts] == list(range(MAX_PARTS_PER_HIT))
    (best,) = engine.search("t", "default", Query(good, top_k=1)).hits
    assert best.score == pytest.approx(1.0)
