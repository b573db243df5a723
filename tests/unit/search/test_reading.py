"""What a reader answers beside nearest vectors: words, both at once, further spaces, stored documents."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from exact_search import ExactCollection, check_exact, matches, reciprocal_ranks, unit
from search_collections import DIMENSIONS, OpenTable, open_table, random_condition, random_query

from search.collection import Collection
from search.errors import DimensionMismatch, InvalidQuery
from search.filters import Equals, Not, Range
from search.index.scan import Positions
from search.query_checks import MAX_REACH
from search.rank_fusion import fused, fusion_depth
from search.segment import Segment
from search.types import Query, RankFusion, Row, SpaceSpec, Vector

WORDS = ("river", "bridge", "cat", "moon", "train", "violin")
SMALL = 8


def content(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


class House:
    """300 documents of one to four parts, some with vectors in a second space; in memory, or sealed."""

    def __init__(self, root: Path, sealed: bool) -> None:
        seed = secrets.randbits(32)
        logging.warning("seed %d", seed)  # shown when a test fails
        self.chance = np.random.default_rng(seed)
        self.table: OpenTable = open_table(
            root, further=(SpaceSpec("small", SMALL),), flat_rows=200 if sealed else 10**6, threads=1
        )
        self.model = ExactCollection()
        self.words: dict[str, list[set[str]]] = {}
        self.reader: Collection = self.table.reader()
        for step in range(3):
            self.add([f"d{n:03}" for n in range(100 * step, 100 * step + 100)], float(step))
            self.reader.build_now()
        for document_id in ("d005", "d150", "d299"):
            self.table.table.delete(document_id)
            self.model.delete(document_id)
        self.add(["d007", "d200", "new"], 3.0)

    def add(self, ids: list[str], now: float) -> None:
        rows = []
        for document_id in ids:
            number = int(document_id[1:]) if document_id != "new" else 999
            self.words[document_id] = []
            for part in range(int(self.chance.integers(1, 5))):
                chosen = [str(word) for word in self.chance.choice(WORDS, self.chance.integers(0, 4))]
                self.words[document_id].append(set(chosen))
                vectors = {"small": self.vector(SMALL)} if self.chance.random() < 0.5 else {}
                rows.append(
                    Row(
                        document_id,
                        "video" if part else "image",
                        self.vector(),
                        part_index=part,
                        start_seconds=float(part) if part else None,
                        text=" ".join(chosen),
                        metadata={"n": number, "share": float(self.chance.random()), "user_id": "u1"},
                        vectors=vectors,
                        content_hash=content(number // 2) if part == 0 else None,
                    )
                )
        self.table.add(rows, now)
        self.model.add(rows, now)

    def vector(self, dimensions: int = DIMENSIONS) -> Vector:
        return self.chance.standard_normal(dimensions).astype(np.float32)


@pytest.fixture(params=[False, True], ids=["in memory", "sealed"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, request.param)
    assert any(segment.is_indexed for segment in house.reader.snapshot.segments) == request.param
    yield house
    house.reader.close()


def test_words_find_the_rows_that_have_them(house: House) -> None:
    for where in (None, Range("n", below=120), Not(Equals("n", 8))):
        for text in ("cat", "Moon violin", "nothing of it"):
            query = Query(text=text, top_k=1000, where=where, modalities=("image", "video"))
            answer = house.reader.search(query)
            assert answer.score_kind == "bm25"
            wanted = set(text.lower().split())
            expected = {
                document_id: [
                    (row.part_index, row.text)
                    for ordinal, row in rows
                    if house.words[document_id][ordinal] & wanted
                ]
                for document_id, rows in house.model.matching(query).items()
            }
            expected = {document_id: parts for document_id, parts in expected.items() if parts}
            assert {hit.document_id for hit in answer.hits} == expected.keys()
            order = [(-hit.score, hit.document_id) for hit in answer.hits]
            assert order == sorted(order)
            for hit in answer.hits:
                assert hit.text_score == hit.score == hit.parts[0].score > 0
                assert hit.vector_score is None
                assert sorted((part.part_index, part.text) for part in hit.parts) == sorted(
                    expected[hit.document_id]
                )


def test_pages_of_words_fit_together(house: House) -> None:
    whole = house.reader.search(Query(text="train river", top_k=60))
    pages = [house.reader.search(Query(text="train river", top_k=10, offset=n)) for n in range(0, 60, 10)]
    assert [hit.document_id for page in pages for hit in page.hits] == [h.document_id for h in whole.hits]
    assert all(page.has_more for page in pages)


def test_vectors_and_words_are_fused_by_rank(house: House) -> None:
    for fusion in (RankFusion(), RankFusion(10.0, 0.5, 2.0), RankFusion(60.0, 1.0, 0.0)):
        vector, text, where = house.vector(), "violin cat", Range("n", at_least=20)
        both = Query(vector, text=text, top_k=25, offset=5, where=where, fusion=fusion, exact=True)
        answer = house.reader.search(both)
        assert answer.score_kind == "reciprocal_rank"
        depth = fusion_depth(30)
        by_vector = house.model.ranked(both)[:depth]
        by_text = house.reader.search(Query(text=text, top_k=depth, where=where)).hits
        expected = reciprocal_ranks(
            [
                ([one.document_id for one in by_vector], fusion.vector_weight),
                ([one.document_id for one in by_text], fusion.text_weight),
            ],
            fusion.constant,
        )
        best = sorted(expected, key=lambda one: (-expected[one], one))
        assert [hit.document_id for hit in answer.hits] == best[5:30]
        assert answer.has_more
        cosines = {one.document_id: one.score for one in by_vector}
        weights = {one.document_id: one.score for one in by_text}
        for hit in answer.hits:
            assert hit.score == pytest.approx(expected[hit.document_id])
            assert hit.text_score == weights.get(hit.document_id)
            assert (hit.vector_score is None) == (hit.document_id not in cosines)
            if hit.vector_score is not None:
                assert hit.vector_score == pytest.approx(cosines[hit.document_id], abs=2e-6)
            rows = house.model.rows(hit.document_id)
            assert len({part.part_index for part in hit.parts}) == len(hit.parts)
            scores = [part.score for part in hit.parts]
            assert scores == sorted(scores, reverse=True)
            for part in hit.parts:  # by whichever way it was found, its cosine similarity
                true = unit(rows[part.part_index].vector) @ unit(vector)
                assert part.score == pytest.approx(true, abs=2e-6)


def test_hybrid_pages_fit_together_and_end(house: House) -> None:
    def page(offset: int) -> Query:
        return Query(vector, text="moon", top_k=16, offset=offset, score_threshold=0.3, exact=True)

    vector = house.vector()
    whole = house.reader.search(dataclasses.replace(page(0), top_k=64))
    assert [hit.document_id for n in range(0, 64, 16) for hit in house.reader.search(page(n)).hits] == [
        hit.document_id for hit in whole.hits
    ]
    assert not house.reader.search(dataclasses.replace(page(0), top_k=1000)).has_more
    assert house.reader.search(page(5000)).hits == ()


def test_a_further_space_has_its_own_neighbours(house: House) -> None:
    for _ in range(20):
        query = random_query(house.chance, 3.0, house.model.ids)
        query = dataclasses.replace(query, vector=house.vector(SMALL), space="small", exact=True)
        check_exact(house.reader.search(query), house.model, query)
    (hit,) = house.reader.search(
        Query(house.vector(SMALL), space="small", top_k=1, include_vectors=True)
    ).hits
    row = house.model.rows(hit.document_id)[hit.parts[0].part_index]
    assert hit.vector is not None
    np.testing.assert_allclose(hit.vector, unit(row.vectors["small"]), atol=1e-6)
    with pytest.raises(InvalidQuery, match="no embedding space 'other'"):
        house.reader.search(Query(house.vector(), space="other"))
    with pytest.raises(DimensionMismatch, match="8 dimensions, not 16"):
        house.reader.search(Query(house.vector(), space="small"))


def test_a_first_space_of_another_name_is_the_default_one(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    named = dataclasses.replace(table.table.spec, spaces=(SpaceSpec("pictures", DIMENSIONS),))
    table.table.spec = named
    reader = table.reader()
    vector = np.ones(DIMENSIONS, dtype=np.float32)
    table.add([Row("a", "image", vector)])
    for space in ("default", "pictures"):
        assert [hit.document_id for hit in reader.search(Query(vector, space=space)).hits] == ["a"]


def test_documents_come_back_as_they_were_put_in(house: House) -> None:
    wanted = ["new", "d299", "d007", "d100", "nobody", "d007"]
    found = house.reader.documents(wanted)
    assert [document.document_id for document in found] == ["new", "d007", "d100", "d007"]
    for document, created in zip(found, (3.0, 3.0, 1.0, 3.0), strict=True):
        assert document.created_at_seconds == created
        rows = house.model.rows(document.document_id)
        assert len(document.rows) == len(rows)
        for got, put in zip(document.rows, rows, strict=True):
            assert dataclasses.replace(got, vector=put.vector, vectors=put.vectors) == put
            np.testing.assert_allclose(got.vector, unit(put.vector), atol=1e-6)
            assert got.vectors.keys() == put.vectors.keys()
            for name, vector in put.vectors.items():
                np.testing.assert_allclose(got.vectors[name], unit(vector), atol=1e-6)
    got = house.reader.documents(["new"])[0].rows[0].vector
    got[:] = 0.0  # the caller's own


def test_documents_are_scrolled_in_order_of_id(house: House) -> None:
    for where in (None, Range("share", below=0.2), *(random_condition(house.chance) for _ in range(5))):
        expected = [
            document_id
            for document_id in house.model.ids
            if where is None or any(matches(where, row.metadata) for row in house.model.rows(document_id))
        ]
        seen: list[str] = []
        while page := house.reader.scroll(seen[-1] if seen else None, 37, where):
            assert len(page) <= 37
            seen += [document.document_id for document in page]
        assert seen == expected
    assert house.reader.scroll("d0070", 1, None)[0].document_id == "d008"  # from one that is not there on
    with pytest.raises(InvalidQuery):
        house.reader.scroll(None, 0, None)


def test_contents_are_known_by_their_hash(house: House) -> None:
    numbers = range(600)
    known = house.reader.known_contents([content(number) for number in numbers])
    expected: dict[str, str] = {}
    for document_id in house.model.ids:
        for row in house.model.rows(document_id):
            if row.content_hash is not None:
                expected.setdefault(row.content_hash, document_id)
    assert known == expected
    assert house.reader.known_contents([]) == {}
    assert house.reader.known_contents([content(10**6), "short", ""]) == {}


def test_documents_as_one_vector_each(house: House) -> None:
    for where in (None, Range("share", below=0.5), Equals("n", -1)):
        ids, vectors = house.reader.document_vectors(where)
        query = Query(house.vector(), where=where)
        rows = house.model.matching(query)
        assert ids == sorted(rows)
        assert vectors.shape == (len(ids), DIMENSIONS)
        assert vectors.dtype == np.float32
        for document_id, vector in zip(ids, vectors, strict=True):
            mean = np.mean([unit(row.vector) for _, row in rows[document_id]], axis=0)
            np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_a_sample_reads_no_other_vector(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    whole = Segment.vectors_at

    def counted(segment: Segment, space: str, rows: Positions) -> Vector:
        nonlocal read
        read += len(rows)
        return whole(segment, space, rows)

    monkeypatch.setattr(Segment, "vectors_at", counted)
    for where in (None, Range("share", below=0.5), Equals("n", -1)):
        ids, vectors = house.reader.document_vectors(where)
        everything = house.reader.sampled_vectors(where, 10_000)
        assert everything[:2] == (len(ids), ids)
        read = 0
        documents, sample, some = house.reader.sampled_vectors(where, 7)
        wanted = [number * len(ids) // 7 for number in range(7)] if len(ids) > 7 else list(range(len(ids)))
        assert (documents, sample) == (len(ids), [ids[number] for number in wanted])
        np.testing.assert_allclose(some, vectors[wanted], atol=1e-5)
        rows = house.model.matching(Query(house.vector(), where=where))
        assert read == sum(len(rows[document_id]) for document_id in sample)


def test_rows_that_cancel_each_other_out_have_some_mean(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    one = np.ones(DIMENSIONS, dtype=np.float32)
    table.add([Row("a", "image", one), Row("a", "image", -one, part_index=1)])
    _, vectors = table.reader().document_vectors(None)
    assert np.linalg.norm(vectors) == pytest.approx(1.0)


def test_counts_are_of_live_rows_and_distinct_documents(house: House) -> None:
    rows, documents, modalities = house.reader.counts()
    assert (rows, documents) == (len(house.model), len(house.model.ids))
    expected: dict[str, int] = {}
    for document_id in house.model.ids:
        for modality in {row.modality for row in house.model.rows(document_id)}:
            expected[modality] = expected.get(modality, 0) + 1
    assert modalities == expected


def test_the_depth_of_fusion_grows_in_steps() -> None:
    assert [fusion_depth(n) for n in (1, 64, 65, 128, 129, 10_000)] == [128, 128, 256, 256, 512, 32768]
    order = fused([(["a", "b"], 1.0), (["c", "b"], 1.0)], 60.0)
    assert [one for one, _ in order] == ["b", "a", "c"]  # twice second beats once first; ties by id
    assert order[1][1] == order[2][1] == 1 / 61


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(np.ones(DIMENSIONS, np.float32), top_k=0),
        Query(np.ones(DIMENSIONS, np.float32), offset=-1),
        Query(np.ones(DIMENSIONS, np.float32), offset=MAX_REACH),
        Query(np.ones(DIMENSIONS, np.float32), score_threshold=float("nan")),
        Query(np.ones(DIMENSIONS, np.float32), score_thresholds={"image": float("nan")}),
        Query(np.ones(DIMENSIONS, np.float32), where=Equals("a", float("inf"))),
        Query(np.ones(DIMENSIONS, np.float32), excluded_documents=("x",) * 10_001),
        Query(text="x" * 10_001),
        Query(np.ones(DIMENSIONS, np.float32), text="x", fusion=RankFusion(constant=-1.0)),
        Query(np.ones(DIMENSIONS, np.float32), text="x", fusion=RankFusion(text_weight=float("nan"))),
        Query(np.ones(DIMENSIONS, np.float32), min_version=10**6),
    ],
)
def test_queries_that_cannot_be_answered_are_refused(tmp_path: Path, query: Query) -> None:
    table = open_table(tmp_path)
    table.add([Row("a", "image", np.ones(DIMENSIONS, np.float32))])
    with pytest.raises(InvalidQuery):
        table.reader().search(query)
