"""Indexes: which one is chosen, that scores stay exact, and that filters do not cost recall."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

import faiss
import numpy as np
import pytest

from search.errors import CorruptSegment
from search.index.build import build_index
from search.index.effort import Effort
from search.index.faiss_index import read_index, write_index
from search.index.gpu import gpu_count, on_gpu
from search.index.plan import IndexPlan, choose, pq_parts
from search.index.scan import nearest, nearest_among, scores_at
from search.index.space import SpaceVectors
from search.metadata_values import Mask
from search.types import IndexSpec, Vector

ROWS, DIMENSIONS, QUERIES = 12_000, 32, 40
SPECS = {
    "ivf": IndexSpec("ivf"),
    "ivf int8": IndexSpec("ivf", "int8"),
    "ivf binary": IndexSpec("ivf", "binary"),
    "ivf_pq": IndexSpec("ivf_pq"),
    "hnsw": IndexSpec("hnsw"),
    "hnsw int8": IndexSpec("hnsw", "int8"),
    "flat int8": IndexSpec("flat", "int8"),
    "flat binary": IndexSpec("flat", "binary"),
    "ivf shortened": IndexSpec("ivf", dimensions=24),
}


class House:
    """Clustered vectors, queries near some of them, and filters of every kind with the true best under each."""

    def __init__(self, seed: int) -> None:
        chance = np.random.default_rng(seed)
        centres = chance.standard_normal((150, DIMENSIONS))
        rows = centres[chance.integers(150, size=ROWS)] + 0.8 * chance.standard_normal((ROWS, DIMENSIONS))
        self.vectors = unit(rows)
        self._spaces: dict[IndexSpec, SpaceVectors] = {}
        moved = self.vectors[chance.integers(ROWS, size=QUERIES)] + 0.05 * chance.standard_normal(
            (QUERIES, DIMENSIONS)
        )
        self.queries = unit(moved)
        far = self.vectors @ self.queries.mean(axis=0)
        self.masks: dict[str, Mask | None] = {"all": None}
        for share in (0.9, 0.5, 0.1, 0.01, 0.001):
            self.masks[f"{share:.1%}"] = chance.random(ROWS) < share
        self.masks["one side"] = self.vectors[:, 0] > np.quantile(self.vectors[:, 0], 0.9)
        self.masks["far away"] = far < np.quantile(far, 0.5)
        self.masks["farther"] = far < np.quantile(far, 0.2)
        away = self.vectors @ self.queries[0]
        self.masks["far from one"] = away < np.quantile(away, 0.05)
        self.masks["few"] = np.arange(ROWS) < 4
        self.masks["none"] = np.zeros(ROWS, dtype=np.bool_)

    def space(self, spec: IndexSpec) -> SpaceVectors:
        if spec not in self._spaces:
            index, effort = build_index(self.vectors, choose(ROWS, spec, DIMENSIONS, 10**7), threads=1)
            self._spaces[spec] = SpaceVectors(self.vectors, None, index, effort)
        return self._spaces[spec]


def unit(rows: np.typing.NDArray[np.floating]) -> Vector:
    matrix = np.ascontiguousarray(rows, dtype=np.float32)
    faiss.normalize_L2(matrix)
    return matrix


@pytest.fixture(scope="module")
def house() -> House:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)  # shown when a test fails
    return House(seed)


@pytest.mark.parametrize("few", [4096, 64])
@pytest.mark.parametrize("name", SPECS)
def test_filters_keep_recall_and_scores_are_exact(
    house: House, name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.index.space._SCAN_ROWS", few)  # so few matches are scanned at once
    space = house.space(SPECS[name])
    for label, mask in house.masks.items():
        found = wanted = 0
        for query in house.queries:
            scores, rows = space.search(query, 10, mask)
            _, true = nearest(house.vectors, query, 10, mask)
            assert len(rows) == len(true), label
            assert np.array_equal(scores, scores_at(house.vectors, query, rows))
            assert np.all(np.diff(scores) <= 0)
            assert len(set(rows.tolist())) == len(rows)
            assert mask is None or mask[rows].all()
            found += len(np.intersect1d(rows, true))
            wanted += len(true)
        assert found >= 0.95 * wanted, (label, found, wanted)
    for count in (1, 100, ROWS // 2, ROWS + 1):  # whatever is asked for is found, if it is there
        assert len(space.search(house.queries[0], count, None)[0]) == min(count, ROWS)
    scores, rows = space.search(house.queries[0], 10, None, exact=True)
    assert np.array_equal(scores, nearest(house.vectors, house.queries[0], 10)[0])


@pytest.mark.parametrize("name", ["ivf", "hnsw", "ivf int8"])
def test_deep_answers_keep_recall(house: House, name: str) -> None:
    space = house.space(SPECS[name])
    found = 0
    for query in house.queries:
        found += len(np.intersect1d(space.search(query, 500, None)[1], nearest(house.vectors, query, 500)[1]))
    assert found >= 0.95 * 500 * QUERIES


def test_a_row_scores_the_same_to_the_last_bit_however_it_is_found(house: House) -> None:
    query = house.queries[0]
    scores, rows = nearest(house.vectors, query, 200)
    assert np.array_equal(scores, scores_at(house.vectors, query, rows))
    rising = np.sort(rows)
    again, order = nearest_among(house.vectors, query, 200, rising)
    assert np.array_equal(np.sort(again), np.sort(scores))
    for spec in (IndexSpec("ivf"), IndexSpec("hnsw")):
        found_scores, found = house.space(spec).search(query, 20, None)
        assert np.array_equal(found_scores, scores_at(house.vectors, query, found))
    assert set(order.tolist()) == set(rows.tolist())


def test_rows_without_a_vector_are_never_found(house: House) -> None:
    present = np.flatnonzero(np.arange(ROWS) % 3 != 0)
    vectors = np.ascontiguousarray(house.vectors[present])
    index, effort = build_index(vectors, IndexPlan("ivf", "float32", DIMENSIONS), threads=1)
    for space in (SpaceVectors(vectors, present), SpaceVectors(vectors, present, index, effort)):
        for mask in (None, np.arange(ROWS) % 2 == 0, np.arange(ROWS) % 3 == 0):
            scores, rows = space.search(house.queries[0], 50, mask)
            assert np.isin(rows, present).all()
            assert mask is None or mask[rows].all()
            assert np.array_equal(scores, space.scores(house.queries[0], rows))
        assert len(space.search(house.queries[0], 50, np.arange(ROWS) % 3 == 0)[0]) == 0
        assert np.isnan(space.scores(house.queries[0], np.array([0, 1, 3]))).tolist() == [True, False, True]
        assert space.row_vector(0) is None
        assert np.array_equal(space.row_vector(1), house.vectors[1])


@pytest.mark.parametrize("name", SPECS)
def test_an_index_survives_its_file(house: House, name: str, tmp_path: Path) -> None:
    plan = choose(ROWS, SPECS[name], DIMENSIONS, 10**7)
    index, _ = build_index(house.vectors[:3000], plan, threads=1)
    write_index(index, tmp_path / "index")
    loaded = read_index(tmp_path / "index", plan, DIMENSIONS, 3000)
    for query in house.queries[:5]:
        for one, other in zip(loaded.search(query, 9, 8), index.search(query, 9, 8), strict=True):
            assert np.array_equal(one, other)
    with pytest.raises(CorruptSegment):
        read_index(tmp_path / "index", plan, DIMENSIONS, 3001)
    (tmp_path / "index").write_bytes(b"IxFI nothing of the kind")
    with pytest.raises(CorruptSegment):
        read_index(tmp_path / "index", plan, DIMENSIONS, 3000)


def test_the_same_vectors_give_the_same_effort_and_it_travels_as_json(house: House) -> None:
    plan = IndexPlan("ivf", "int8", DIMENSIONS)
    _, one = build_index(house.vectors[:3000], plan, threads=1)
    _, other = build_index(house.vectors[:3000], plan, threads=1)
    assert one == other == Effort.from_json(one.as_json())
    for damaged in ({**one.as_json(), "depths": []}, {}, {**one.as_json(), "margin": "x"}):
        with pytest.raises((KeyError, ValueError)):
            Effort.from_json(damaged)


def test_effort_grows_with_depth_up_to_its_bound() -> None:
    effort = Effort((10, 100), (2, 8), 1.0, 50)
    assert [effort.breadth(depth) for depth in (1, 10, 11, 100, 200, 1000, 10**9)] == [2, 2, 3, 8, 16, 50, 50]


def test_queries_of_late_are_tried_too(house: House) -> None:
    """Words that look for pictures lie far from all pictures: an index tuned on pictures only would miss much.

    64 queries say what recall is to within a hundredth, so queries never tried may do that much worse; the floor
    leaves room for it, not for an index that was tuned on pictures.
    """
    chance = np.random.default_rng(secrets.randbits(64))  # never the numbers the house was made from
    strange = unit(chance.standard_normal((64, DIMENSIONS)))
    others = unit(chance.standard_normal((400, DIMENSIONS)))
    plan = IndexPlan("ivf", "float32", DIMENSIONS)
    index, usual = build_index(house.vectors, plan, threads=1)
    _, effort = build_index(house.vectors, plan, 1, list(strange))
    assert effort.breadths[0] > usual.breadths[0]

    def recall(tuned: Effort) -> float:
        space = SpaceVectors(house.vectors, None, index, tuned)
        answers = [
            (space.search(query, 10, None)[1], nearest(house.vectors, query, 10)[1]) for query in others
        ]
        return float(np.mean([len(np.intersect1d(found, true)) / 10 for found, true in answers]))

    assert recall(effort) >= 0.92 > recall(usual)


@pytest.mark.parametrize(
    ("rows", "spec", "expected"),
    [
        (1000, IndexSpec(), IndexPlan("ivf", "float32", 64)),
        (5000, IndexSpec(), IndexPlan("ivf", "float32", 64)),
        (5001, IndexSpec(), IndexPlan("ivf_pq", "float32", 64)),
        (5001, IndexSpec(storage="int8"), IndexPlan("ivf", "int8", 64)),
        (10, IndexSpec("flat"), IndexPlan("flat", "float32", 64)),
        (10, IndexSpec("hnsw", "int8"), IndexPlan("hnsw", "int8", 64)),
        (10, IndexSpec("hnsw", "binary"), IndexPlan("ivf", "binary", 64)),
        (10, IndexSpec("ivf_pq", dimensions=13), IndexPlan("ivf", "int8", 13)),
        (10, IndexSpec("ivf", dimensions=32), IndexPlan("ivf", "float32", 32)),
        (10, IndexSpec("ivf", dimensions=999), IndexPlan("ivf", "float32", 64)),
    ],
)
def test_the_index_is_chosen_by_rows_and_settings(rows: int, spec: IndexSpec, expected: IndexPlan) -> None:
    assert choose(rows, spec, 64, pq_rows=5000) == expected


def test_vectors_are_cut_into_even_parts() -> None:
    assert [pq_parts(dimensions) for dimensions in (512, 384, 10, 6, 13)] == [128, 96, 2, 1, None]


def test_int8_takes_a_quarter_of_the_memory(house: House, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    vectors = unit(chance.standard_normal((4000, 256)))
    sizes = {}
    for storage in ("float32", "int8", "binary"):
        index, _ = build_index(vectors, IndexPlan("ivf", storage, 256), threads=1)
        write_index(index, tmp_path / storage)
        centres = 256 * 4 * int(index.faiss_index.nlist)
        sizes[storage] = (tmp_path / storage).stat().st_size - centres
    assert sizes["int8"] <= 0.30 * sizes["float32"]
    assert sizes["binary"] <= 0.08 * sizes["float32"]


def test_a_gpu_answers_as_the_cpu_does(house: House) -> None:
    if gpu_count() == 0:
        pytest.skip("the installed FAISS has no GPU to use (faiss-gpu and a CUDA device)")
    plan = IndexPlan("ivf", "float32", DIMENSIONS)
    index, _ = build_index(house.vectors, plan, threads=1)
    moved = on_gpu(index.faiss_index)
    assert moved is not index.faiss_index
    for query in house.queries[:5]:
        parameters = faiss.SearchParametersIVF(nprobe=8)
        expected = index.search(query, 10, 8)[1]
        found = moved.search(query.reshape(1, -1), 10, params=parameters)[1][0]
        assert len(np.intersect1d(found, expected)) >= 9


def test_without_a_gpu_an_index_stays_where_it_is(house: House) -> None:
    if gpu_count():
        pytest.skip("there is a GPU")
    index, _ = build_index(house.vectors[:1000], IndexPlan("ivf", "float32", DIMENSIONS), threads=1)
    assert on_gpu(index.faiss_index) is index.faiss_index
