"""What a collection is about: documents that lie together, by spherical k-means.

Spherical k-means (Dhillon and Modha 2001, "Concept decompositions for large sparse text data using clustering",
Machine Learning 42) is Lloyd's algorithm with cosine similarity in place of distance and centres kept at norm 1.
FAISS runs it (Johnson, Douze and Jégou 2019, "Billion-scale similarity search with GPUs"), on a sample when there
are many documents; all documents are assigned afterwards. It starts from k-means++ (Arthur and Vassilvitskii
2007), which finds clusters that lie apart where random documents would put two centres into one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from search.errors import InvalidQuery
from search.types import Cluster, Vector

__all__ = ["REPRESENTATIVES", "clusters", "grouped"]

REPRESENTATIVES = 5
"""Ids that stand for a cluster, at most."""

_SEED = 1729
_ROUNDS = 25
_SAMPLE_PER_CLUSTER = 256  # what FAISS trains its own inverted lists on
_BLOCK_ROWS = 65_536


def clusters(
    ids: Sequence[str], vectors: NDArray[np.float32], count: int, threads: int
) -> tuple[Cluster, ...]:
    """At most ``count`` clusters of the documents, largest first; none of them is empty.

    ``vectors`` is float32 ``(documents, dimensions)`` with rows of L2 norm 1, one for each of ``ids``, which are
    all different. Every document is in one cluster. There are fewer clusters when there are fewer documents, or
    fewer different ones. Same documents, same ``count`` and ``threads``: same answer, whatever their order.
    Raises ``InvalidQuery`` when ``count`` is under 1.
    """
    return tuple(cluster for cluster, _ in grouped(ids, vectors, count, threads))


def grouped(
    ids: Sequence[str], vectors: NDArray[np.float32], count: int, threads: int
) -> tuple[tuple[Cluster, NDArray[np.int64]], ...]:
    """``clusters``, each with its documents: numbers into ``ids``, in order of id."""
    if count < 1:
        raise InvalidQuery("The number of clusters must be at least 1.")
    if not ids:
        return ()
    order = np.argsort(np.array(ids))  # the seeded sample and sums must not depend on the order given
    faiss.omp_set_num_threads(threads)  # OpenMP keeps this per calling thread, so it is set here
    centres = _centres(vectors, order, min(count, len(ids)))
    members = _nearest(vectors, order, centres)
    sorted_members = order[np.argsort(members, kind="stable")]
    ends = np.cumsum(np.bincount(members, minlength=len(centres)))
    parts = [part for part in np.split(sorted_members, ends[:-1]) if len(part)]
    made = [(_cluster(ids, vectors, part), part) for part in parts]
    return tuple(sorted(made, key=lambda one: (-one[0].size, one[0].representatives)))


def _centres(vectors: Vector, order: NDArray[np.int64], count: int) -> Vector:
    most = count * _SAMPLE_PER_CLUSTER
    if len(order) > most:
        order = order[np.sort(np.random.default_rng(_SEED).choice(len(order), most, replace=False))]
    sample = np.ascontiguousarray(vectors[order], dtype=np.float32)
    means = faiss.Kmeans(
        sample.shape[1],
        count,
        niter=_ROUNDS,
        spherical=True,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=_SAMPLE_PER_CLUSTER,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
    )
    means.train(sample)
    return np.asarray(means.centroids, dtype=np.float32)


def _nearest(vectors: Vector, order: NDArray[np.int64], centres: Vector) -> NDArray[np.int64]:
    index = faiss.IndexFlatIP(centres.shape[1])
    index.add(centres)
    found = np.empty(len(order), dtype=np.int64)
    for start in range(0, len(order), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        found[block] = index.search(np.ascontiguousarray(vectors[order[block]], dtype=np.float32), 1)[1][:, 0]
    return found


def _cluster(ids: Sequence[str], vectors: Vector, members: NDArray[np.int64]) -> Cluster:
    blocks = [members[start : start + _BLOCK_ROWS] for start in range(0, len(members), _BLOCK_ROWS)]
    total = np.sum([vectors[block].sum(axis=0, dtype=np.float64) for block in blocks], axis=0)
    norm = float(np.linalg.norm(total))
    # Opposite documents may cancel out; then the first of them is as good a centre as any.
    centre = (total / norm if norm > 1e-6 * len(members) else vectors[members[0]]).astype(np.float32)
    similarities = np.concatenate([vectors[block] @ centre for block in blocks])
    best = np.argsort(-similarities, kind="stable")[:REPRESENTATIVES]  # ties in the order of ids
    return Cluster(
        size=len(members),
        centre=centre,
        mean_similarity=float(similarities.mean(dtype=np.float64)),
        representatives=tuple(ids[int(members[position])] for position in best),
    )
