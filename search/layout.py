"""A collection as a map: documents on a plane, near each other where their vectors are, by principal components.

The plane is the one along which the documents differ most (Pearson 1901, "On lines and planes of closest fit to
systems of points in space"). It is found without chance, so the same documents lie in the same places, and what it
cannot show is known: the share of the differences that the two directions hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.clustering import grouped
from search.types import Cluster, Vector

__all__ = ["MAX_PLACES", "Layout", "lay_out"]

MAX_PLACES = 2000
"""Documents on a map, and looked at for one, at most: what a page can draw, vectors of some megabytes, and
eigenvectors that take a fraction of a second, or some seconds where vectors have more than a thousand numbers.
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which of the documents are on the map (numbers into those given), where, and in which cluster each lies."""

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    members: NDArray[np.int64]
    clusters: tuple[Cluster, ...]
    explained: tuple[float, float]


def lay_out(ids: Sequence[str], vectors: Vector, count: int, limit: int, threads: int) -> Layout:
    """A map of ``limit`` documents at most, all of which are divided into at most ``count`` clusters.

    ``ids`` are in order and all different; ``vectors`` as in ``search.clustering.clusters``. Of more documents than
    ``limit`` every so many-th in order of id is shown. Positions lie within -1 and 1, both axes to the same
    scale. Raises ``InvalidQuery`` when ``count`` is under 1.
    """
    groups = grouped(ids, vectors, count, threads)
    members = np.zeros(len(ids), dtype=np.int64)
    for number, (_, documents) in enumerate(groups):
        members[documents] = number
    shown = min(len(ids), limit)
    numbers = np.arange(shown, dtype=np.int64) * len(ids) // max(shown, 1)
    positions, explained = _plane(vectors[numbers])
    return Layout(numbers, positions, members[numbers], tuple(cluster for cluster, _ in groups), explained)


def _plane(vectors: Vector) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Positions on the plane of the first two principal components, and the share of the variance of each."""
    positions = np.zeros((len(vectors), 2))
    if len(vectors) < 2:
        return positions, (0.0, 0.0)
    centred = vectors - vectors.mean(axis=0)
    # The smaller of both products has the same eigenvalues, but for zeros.
    wide = centred.shape[1] > len(centred)
    product = (centred @ centred.T if wide else centred.T @ centred).astype(np.float64)
    values, directions = np.linalg.eigh(product)
    values = np.maximum(values[::-1], 0.0)
    best = directions[:, ::-1][:, :2]
    found = best * np.sqrt(values[:2]) if wide else centred @ best
    positions[:, : found.shape[1]] = found
    for axis in range(2):  # a direction and its opposite are as good: the farthest lies on the positive side
        farthest = np.argmax(np.abs(positions[:, axis]))
        if positions[farthest, axis] < 0:
            positions[:, axis] = -positions[:, axis]
    scale = float(np.abs(positions).max())
    total = float(values.sum())
    if scale < 1e-6 or total <= 0:
        return np.zeros((len(vectors), 2)), (0.0, 0.0)  # all the same
    shares = [*(values[:2] / total).tolist(), 0.0]
    return positions / scale, (shares[0], shares[1])
