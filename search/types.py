"""What search stores and answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from search.filters import Condition

__all__ = [
    "DEFAULT_SPACE",
    "Cluster",
    "CollectionInfo",
    "CollectionMap",
    "CollectionSpec",
    "Example",
    "Hit",
    "IndexKind",
    "IndexSpec",
    "PartHit",
    "Place",
    "Query",
    "RankFusion",
    "Row",
    "ScoreKind",
    "SearchAnswer",
    "SpaceSpec",
    "StoredDocument",
    "Vector",
    "VectorStorage",
]

Vector = NDArray[np.float32]

DEFAULT_SPACE = "default"
"""The embedding space of a row's ``vector``. Further spaces have names of their own."""

IndexKind = Literal["auto", "flat", "hnsw", "ivf", "ivf_pq"]
VectorStorage = Literal["float32", "int8", "binary"]
ScoreKind = Literal["cosine", "bm25", "reciprocal_rank", "reranked"]


@dataclass(frozen=True, slots=True)
class SpaceSpec:
    """One embedding space of a collection: a name, the length of its vectors, and which model makes them.

    ``model`` is the encoder's ``name@revision``; vectors of another one are refused, ``""`` takes any.
    """

    name: str
    dimensions: int
    model: str = ""


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """How a collection's vectors are searched once there are many.

    ``auto`` chooses by the number of rows. ``storage`` is how the index in memory holds vectors; everything but
    ``float32`` is scored again on the stored full vectors. ``dimensions`` indexes only the first so many numbers
    of a Matryoshka embedding, re-normalised; scores are still those of the full vectors.
    """

    kind: IndexKind = "auto"
    storage: VectorStorage = "float32"
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What a collection is made with. The first space is the one of ``Row.vector``."""

    spaces: tuple[SpaceSpec, ...]
    index: IndexSpec = IndexSpec()


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What there is to say of a collection: ``rows`` are parts, ``documents`` what they belong to."""

    name: str
    spec: CollectionSpec
    version: int
    rows: int
    documents: int
    modalities: Mapping[str, int]
    aliases: tuple[str, ...]
    created_at_seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One searchable part of a document.

    A picture or a text is one row; a video is one row per sampled frame, audio one per transcript segment.
    ``part_index`` counts parts inside the document; ``start_seconds``/``end_seconds`` place the part in time.
    ``vector`` is float32 ``(dimensions,)`` with L2 norm 1, in the collection's first space; ``vectors`` are
    those of further spaces by name. ``text`` is what words are looked for in: a passage, labels and written
    text of a picture, what is said. ``content_hash`` is the SHA-256 of the source's bytes, in hex.
    """

    document_id: str
    modality: str
    vector: Vector
    part_index: int = 0
    start_seconds: float | None = None
    end_seconds: float | None = None
    text: str = ""
    media_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    content_hash: str | None = None


@dataclass(frozen=True, slots=True)
class RankFusion:
    """Reciprocal rank fusion of vectors and words: a document scores the sum of ``weight / (constant + rank)``.

    Cormack, Clarke and Buettcher 2009, whose constant is 60.
    """

    constant: float = 60.0
    vector_weight: float = 1.0
    text_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for in one tenant's collection.

    By ``vector`` in a ``space``, by the words of ``text`` (BM25), or by both, fused by ``fusion``. ``where`` is a
    condition on metadata. The time of adding, in seconds since the epoch, lies in
    ``created_after_seconds <= time < created_before_seconds``. ``score_thresholds`` are cosine similarities by
    modality, ``score_threshold`` that of the others. ``offset`` leaves out the best so many documents.
    ``min_version`` gives read-your-writes: the answer has seen at least that table version, one that adding or
    deleting returned. ``exact`` scans all vectors whatever the index.
    """

    vector: Vector | None = None
    text: str | None = None
    space: str = DEFAULT_SPACE
    top_k: int = 10
    offset: int = 0
    modalities: tuple[str, ...] = ()
    where: Condition | None = None
    created_after_seconds: float | None = None
    created_before_seconds: float | None = None
    score_threshold: float | None = None
    score_thresholds: Mapping[str, float] = field(default_factory=dict)
    excluded_documents: tuple[str, ...] = ()
    fusion: RankFusion = RankFusion()
    min_version: int | None = None
    include_vectors: bool = False
    exact: bool = False


class PartHit(msgspec.Struct, frozen=True, gc=False):  # a dataclass takes ten times as long to make
    """A part of a document that matched: a video frame or a stretch of speech."""

    part_index: int
    start_seconds: float | None
    end_seconds: float | None
    score: float
    text: str


class Hit(msgspec.Struct, frozen=True):
    """A document that matched, with its score and its matching parts, best first.

    ``score`` is of the answer's ``score_kind``; ``vector_score`` (cosine similarity of the best part) and
    ``text_score`` (BM25) are what it was made of, where the document was found that way. ``vector`` is that of
    the best part when the query asked for it.
    """

    document_id: str
    modality: str
    score: float
    media_id: str | None
    text: str
    metadata: Mapping[str, Any]
    created_at_seconds: float
    parts: tuple[PartHit, ...]
    vector_score: float | None = None
    text_score: float | None = None
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Hits, best first (ties in order of document id); what their scores are; the table version they are of.

    ``has_more`` says whether documents come after the last hit.
    """

    hits: tuple[Hit, ...]
    score_kind: ScoreKind
    version: int
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is stored: its rows in the order they were given, vectors included."""

    document_id: str
    rows: tuple[Row, ...]
    created_at_seconds: float


@dataclass(frozen=True, slots=True)
class Example:
    """A vector to look for (or, with a negative weight, to keep away from)."""

    vector: Vector
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Documents that lie together: how many, the centre (L2 norm 1), how close they are to it on average (cosine
    similarity), and the ids of those nearest to it, nearest first.
    """

    size: int
    centre: Vector
    mean_similarity: float
    representatives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A document on a map: where, both from -1 to 1, and in which of the map's clusters."""

    document_id: str
    modality: str
    media_id: str | None
    x: float
    y: float
    cluster: int


@dataclass(frozen=True, slots=True)
class CollectionMap:
    """Documents on a plane. ``documents`` are all there are; ``sampled`` of them were looked at and are in
    ``clusters``. ``explained`` are the shares of the differences that the two directions of the plane show.
    """

    documents: int
    sampled: int
    explained: tuple[float, float]
    places: tuple[Place, ...]
    clusters: tuple[Cluster, ...]
