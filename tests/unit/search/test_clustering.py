"""Clusters: every document in one, nearest first, the same whatever the order; and what counts as none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.clustering import REPRESENTATIVES, clusters
from search.errors import InvalidQuery
from search.types import Cluster, Vector


def _unit(vectors: Vector) -> Vector:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _scattered(documents: int, different: int, dimensions: int, seed: int) -> Vector:
    """Documents of which no more than ``different`` have different vectors."""
    dice = np.random.default_rng(seed)
    vectors = dice.standard_normal((different, dimensions)).astype(np.float32)
    return _unit(vectors)[dice.integers(different, size=documents)]


def _same(some: tuple[Cluster, ...], others: tuple[Cluster, ...]) -> bool:
    return len(some) == len(others) and all(
        one.size == other.size
        and one.representatives == other.representatives
        and one.mean_similarity == other.mean_similarity
        and np.array_equal(one.centre, other.centre)
        for one, other in zip(some, others, strict=True)
    )


@settings(deadline=None, max_examples=40)
@given(
    documents=st.integers(1, 80),
    different=st.integers(1, 80),
    dimensions=st.integers(2, 24),
    count=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_clusters_hold_every_document_once_in_any_order(
    documents: int, different: int, dimensions: int, count: int, seed: int
) -> None:
    vectors = _scattered(documents, different, dimensions, seed)
    ids = [f"document {number}" for number in range(documents)]
    found = clusters(ids, vectors, count, threads=1)

    assert 1 <= len(found) <= min(count, documents, different)
    assert sum(cluster.size for cluster in found) == documents
    assert [cluster.size for cluster in found] == sorted((c.size for c in found), reverse=True)
    named = [name for cluster in found for name in cluster.representatives]
    assert len(set(named)) == len(named)
    for cluster in found:
        assert len(cluster.representatives) == min(cluster.size, REPRESENTATIVES)
        assert cluster.centre.dtype == np.float32
        assert np.linalg.norm(cluster.centre) == pytest.approx(1, abs=1e-5)
        similar = [vectors[ids.index(name)] @ cluster.centre for name in cluster.representatives]
        assert all(first >= second - 1e-6 for first, second in itertools.pairwise(similar))
        assert cluster.mean_similarity <= similar[0] + 1e-6

    shuffled = np.random.default_rng(seed).permutation(documents)
    assert _same(found, clusters([ids[place] for place in shuffled], vectors[shuffled], count, threads=1))


def test_clusters_that_lie_apart_are_found_whatever_their_size() -> None:
    dice = np.random.default_rng(3)
    sizes = (400, 40, 12, 3)
    centres = np.eye(16, dtype=np.float32)[:4]
    owners = np.repeat(np.arange(4), sizes)
    vectors = _unit(centres[owners] + 0.02 * dice.standard_normal((len(owners), 16)).astype(np.float32))
    ids = [f"{owner}/{number}" for number, owner in enumerate(owners)]

    found = clusters(ids, vectors, 4, threads=1)

    assert tuple(cluster.size for cluster in found) == sizes
    for owner, cluster in enumerate(found):
        assert {name.split("/")[0] for name in cluster.representatives} == {str(owner)}
        assert cluster.centre @ centres[owner] > 0.99


def test_of_many_documents_a_sample_finds_the_centres_and_all_are_counted() -> None:
    dice = np.random.default_rng(4)
    owners = dice.choice(3, 4_000, p=(0.6, 0.3, 0.1))
    vectors = _unit(np.eye(8, dtype=np.float32)[owners] + 0.05 * dice.standard_normal((4_000, 8)))
    ids = [str(number) for number in range(4_000)]
    shuffled = dice.permutation(4_000)

    found = clusters(ids, vectors, 3, threads=1)

    assert [cluster.size for cluster in found] == np.bincount(owners).tolist()
    assert _same(found, clusters([ids[place] for place in shuffled], vectors[shuffled], 3, threads=1))


def test_opposite_documents_in_one_cluster_still_have_a_centre() -> None:
    (cluster,) = clusters(["a", "b"], np.array([[1, 0], [-1, 0]], np.float32), 1, threads=1)
    assert np.linalg.norm(cluster.centre) == 1
    assert cluster.mean_similarity == pytest.approx(0)


def test_without_documents_there_are_no_clusters_and_a_count_must_be_positive() -> None:
    assert clusters([], np.empty((0, 4), np.float32), 3, threads=1) == ()
    with pytest.raises(InvalidQuery):
        clusters(["a"], np.ones((1, 1), np.float32), 0, threads=1)
