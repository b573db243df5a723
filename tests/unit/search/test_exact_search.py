"""The engine's answers against an exact search in NumPy, over random collections, queries and filters."""

from __future__ import annotations

import json
import logging
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.config import SearchConfig
from search.engine import SearchEngine
from search.grouping import MAX_PARTS_PER_HIT
from search.types import Hit, Query, Row, Vector

DIMENSIONS = 16
MODALITIES = ("image", "video", "audio", "text")
USERS: tuple[Any, ...] = ("u1", "u'2", 3, 3.5, True, None, ["a", 1], {"k": "v"})


class ExactModel:
    """What a collection should answer: every row in a list, every score computed in float64."""

    def __init__(self) -> None:
        self._documents: dict[str, tuple[float, list[Row]]] = {}

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self._documents.values())

    @property
    def ids(self) -> list[str]:
        return sorted(self._documents)

    def add(self, rows: list[Row], now: float) -> None:
        for document_id in {row.document_id for row in rows}:
            self._documents[document_id] = (now, [row for row in rows if row.document_id == document_id])

    def delete(self, document_id: str) -> None:
        self._documents.pop(document_id, None)

    def scores(self, query: Query) -> dict[str, list[tuple[float, int, Row]]]:
        """Per document its matching rows as (score, ordinal, row), best first."""
        found: dict[str, list[tuple[float, int, Row]]] = {}
        direction = unit(query.vector)
        for document_id, (created, rows) in self._documents.items():
            if query.created_after_seconds is not None and created < query.created_after_seconds:
                continue
            if query.created_before_seconds is not None and created >= query.created_before_seconds:
                continue
            parts = [
                (float(unit(row.vector) @ direction), ordinal, row)
                for ordinal, row in enumerate(rows)
                if (not query.modalities or row.modality in query.modalities)
                and all(same(row.metadata, name, value) for name, value in query.filters.items())
            ]
            if query.score_threshold is not None:
                parts = [part for part in parts if part[0] >= query.score_threshold]
            if parts:
                found[document_id] = sorted(parts, key=lambda part: (-part[0], part[1]))
        return found


def unit(vector: Vector) -> np.typing.NDArray[np.float64]:
    wide = vector.astype(np.float64)
    return wide / np.linalg.norm(wide)


def same(metadata: Any, name: str, value: Any) -> bool:
    """JSON equality: ``3`` equals ``3.0``, ``true`` equals only ``true``."""
    if name not in metadata:
        return False
    one, other = metadata[name], value
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return json.loads(json.dumps(one)) == json.loads(json.dumps(other))


def check(hits: tuple[Hit, ...], model: ExactModel, query: Query) -> None:
    expected = model.scores(query)
    best = sorted(
        ((parts[0][0], document_id) for document_id, parts in expected.items()), key=lambda d: (-d[0], d[1])
    )
    assert len(hits) == min(query.top_k, len(best))
    np.testing.assert_allclose(
        [hit.score for hit in hits], [score for score, _ in best[: len(hits)]], atol=2e-6
    )
    assert len({hit.document_id for hit in hits}) == len(hits)
    cutoff = best[len(hits) - 1][0] if hits and len(hits) == query.top_k else -2.0
    for hit in hits:
        parts = expected[hit.document_id]
        score, _, row = parts[0]
        assert abs(hit.score - score) < 2e-6
        assert (hit.modality, hit.media_id, hit.text) == (row.modality, row.media_id, row.text)
        assert json.loads(json.dumps(row.metadata)) == hit.metadata
        wanted = [(r.part_index, r.start_seconds, r.text) for s, _, r in parts if s >= cutoff - 2e-6]
        certain = [(r.part_index, r.start_seconds, r.text) for s, _, r in parts if s >= cutoff + 2e-6]
        got = [(part.part_index, part.start_seconds, part.text) for part in hit.parts]
        assert got == wanted[: len(got)]
        assert min(len(certain), MAX_PARTS_PER_HIT) <= len(got) <= MAX_PARTS_PER_HIT


@pytest.fixture
def chance() -> np.random.Generator:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)
    return np.random.default_rng(seed)


def random_document(chance: np.random.Generator, document_id: str) -> list[Row]:
    modality = MODALITIES[chance.integers(4)]
    metadata: dict[str, Any] = {}
    if chance.random() < 0.9:
        metadata["user_id"] = USERS[chance.integers(len(USERS))]
    if chance.random() < 0.5:
        metadata["größe 'x'"] = int(chance.integers(3))
    return [
        Row(
            document_id,
            modality,
            (chance.standard_normal(DIMENSIONS) * 10 ** chance.uniform(-3, 3)).astype(np.float32),
            part_index=part * 3,
            start_seconds=part * 0.5 if modality in ("video", "audio") else None,
            end_seconds=part * 0.5 + 0.5 if modality == "audio" else None,
            text=f"{document_id} part {part} \N{GRINNING FACE}",
            media_id=f"media-{document_id}" if modality != "text" else None,
            metadata=metadata,
        )
        for part in range(int(chance.integers(1, 22)) if modality in ("video", "audio") else 1)
    ]


def random_query(chance: np.random.Generator, now: float) -> Query:
    filters: dict[str, Any] = {}
    if chance.random() < 0.4:
        filters["user_id"] = [*USERS, 3.0, 1, "absent"][chance.integers(len(USERS) + 3)]
    if chance.random() < 0.2:
        filters["größe 'x'"] = int(chance.integers(4))
    picked = tuple(m for m in MODALITIES if chance.random() < 0.5) if chance.random() < 0.4 else ()
    return Query(
        chance.standard_normal(DIMENSIONS).astype(np.float32),
        top_k=int(chance.choice([1, 2, 5, 10, 50, 1000])),
        modalities=picked,
        filters=filters,
        created_after_seconds=float(chance.integers(0, int(now) + 2)) if chance.random() < 0.3 else None,
        created_before_seconds=float(chance.integers(0, int(now) + 2)) if chance.random() < 0.3 else None,
        score_threshold=float(chance.uniform(-0.2, 0.8)) if chance.random() < 0.3 else None,
    )


def test_random_collections_and_queries(tmp_path: Path, chance: np.random.Generator) -> None:
    now = 0.0
    config = SearchConfig(tmp_path, dimensions=DIMENSIONS)
    engine = SearchEngine(config, clock=lambda: now)
    model = ExactModel()
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
            query = random_query(chance, now)
            hits = engine.search("t", "default", query)
            check(hits, model, query)
            assert fresh.search("t", "default", query) == hits  # built at once = grown step by step


def test_larger_collection_with_narrow_filters(tmp_path: Path, chance: np.random.Generator) -> None:
    engine = SearchEngine(SearchConfig(tmp_path, dimensions=DIMENSIONS), clock=lambda: 5.0)
    model = ExactModel()
    count = 3000
    vectors = chance.standard_normal((count, DIMENSIONS)).astype(np.float32)
    rows = [
        Row(f"d{n:05}", "image", vectors[n], metadata={"tenth": n % 10, "rare": n % 1000})
        for n in range(count)
    ]
    engine.add("t", "default", rows)
    model.add(rows, 5.0)
    for filters in ({}, {"tenth": 3}, {"rare": 7}, {"rare": 7, "tenth": 7}, {"rare": 7, "tenth": 8}):
        for _ in range(5):
            query = Query(chance.standard_normal(DIMENSIONS).astype(np.float32), filters=filters)
            check(engine.search("t", "default", query), model, query)


def test_ties_come_in_order_of_id_however_rows_are_spread(tmp_path: Path) -> None:
    vector = np.ones(DIMENSIONS, dtype=np.float32)
    names = [f"d{n:03}" for n in range(120)]
    engine = SearchEngine(SearchConfig(tmp_path, dimensions=DIMENSIONS))
    for start in (80, 0, 40):  # three adds, not in order
        engine.add("t", "default", [Row(name, "image", vector) for name in names[start : start + 40][::-1]])
        engine.search("t", "default", Query(vector))
    for top_k in (1, 3, 7, 60, 200):
        hits = engine.search("t", "default", Query(vector, top_k=top_k))
        assert [hit.document_id for hit in hits] == names[:top_k]


def test_one_document_with_many_good_parts_does_not_crowd_out_others(tmp_path: Path) -> None:
    engine = SearchEngine(SearchConfig(tmp_path, dimensions=DIMENSIONS))
    good = np.eye(DIMENSIONS, dtype=np.float32)[0]
    poor = good + 3 * np.eye(DIMENSIONS, dtype=np.float32)[1]
    video = [Row("video", "video", good, part_index=n, start_seconds=float(n)) for n in range(500)]
    photos = [Row(f"photo{n}", "image", poor) for n in range(4)]
    engine.add("t", "default", video + photos)
    hits = engine.search("t", "default", Query(good, top_k=5))
    assert [hit.document_id for hit in hits] == ["video", "photo0", "photo1", "photo2", "photo3"]
    assert [part.part_index for part in hits[0].parts] == list(range(MAX_PARTS_PER_HIT))
    (best,) = engine.search("t", "default", Query(good, top_k=1))
    assert best.score == pytest.approx(1.0)
