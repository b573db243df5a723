"""Maps: alike lies together, the plane is that of the principal components, and the same map comes again."""

from __future__ import annotations

import numpy as np
import pytest

from search.clustering import clusters
from search.errors import InvalidQuery
from search.layout import lay_out
from search.types import Vector


def _unit(vectors: Vector) -> Vector:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _groups(sizes: tuple[int, ...], dimensions: int = 16) -> tuple[list[str], Vector]:
    dice = np.random.default_rng(7)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    centres = np.eye(dimensions, dtype=np.float32)[: len(sizes)]
    noise = 0.05 * dice.standard_normal((len(owners), dimensions))
    return [f"{n:04}" for n in range(len(owners))], _unit(centres[owners] + noise.astype(np.float32))


@pytest.mark.parametrize("dimensions", [16, 200])  # more documents than dimensions, and fewer
def test_the_plane_is_that_of_the_principal_components(dimensions: int) -> None:
    ids, vectors = _groups((40, 30, 20), dimensions)
    found = lay_out(ids, vectors, 3, 100, threads=1)
    centred = vectors - vectors.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    wanted = centred @ axes[:2].T
    wanted *= np.sign(wanted[np.abs(wanted).argmax(axis=0), [0, 1]])
    assert found.positions == pytest.approx(wanted / np.abs(wanted).max(), abs=1e-3)
    assert found.explained == pytest.approx(tuple((singular**2 / (singular**2).sum())[:2]), abs=1e-4)
    assert np.abs(found.positions).max() == pytest.approx(1)


def test_members_are_those_of_the_clusters_and_lie_together() -> None:
    ids, vectors = _groups((40, 30, 20))
    found = lay_out(ids, vectors, 3, 100, threads=1)
    same = clusters(ids, vectors, 3, threads=1)
    assert [one.representatives for one in found.clusters] == [one.representatives for one in same]
    assert np.bincount(found.members).tolist() == [one.size for one in found.clusters] == [40, 30, 20]
    for number in range(3):
        inside = found.positions[found.members == number]
        others = found.positions[found.members != number]
        middle = inside.mean(axis=0)
        farthest = np.linalg.norm(inside - middle, axis=1).max()
        assert farthest < np.linalg.norm(others - middle, axis=1).min()


def test_a_sample_of_many_and_the_clusters_of_all() -> None:
    ids, vectors = _groups((40, 30, 20))
    found = lay_out(ids, vectors, 3, 9, threads=1)
    assert found.numbers.tolist() == list(range(0, 90, 10))
    assert [one.size for one in found.clusters] == [40, 30, 20]
    assert len(found.positions) == len(found.members) == 9
    again = lay_out(ids, vectors, 3, 9, threads=1)
    assert np.array_equal(found.positions, again.positions)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_documents_and_equal_ones(count: int) -> None:
    vectors = np.tile(np.eye(1, 4, dtype=np.float32), (count, 1))
    found = lay_out([str(n) for n in range(count)], vectors, 5, 10, threads=1)
    assert found.positions.tolist() == [[0.0, 0.0]] * count
    assert found.explained == (0.0, 0.0)
    assert len(found.clusters) == min(count, 1)
    two = lay_out(["a", "b"], np.eye(2, 4, dtype=np.float32), 5, 10, threads=1)
    assert sorted(two.positions.round(3).tolist()) == [[-1.0, 0.0], [1.0, 0.0]]
    assert two.explained == pytest.approx((1.0, 0.0))


def test_no_clusters_are_refused() -> None:
    with pytest.raises(InvalidQuery):
        lay_out(["a"], np.eye(1, 4, dtype=np.float32), 0, 10, threads=1)
