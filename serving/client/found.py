"""What searches, collections, documents and ingest jobs are answered with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from openai import BaseModel

from serving.client.requests import Page

__all__ = [
    "Alias",
    "AliasDeleted",
    "BatchOutcome",
    "Cluster",
    "ClusterList",
    "Collection",
    "CollectionDeleted",
    "CollectionList",
    "CollectionMap",
    "Document",
    "DocumentBatch",
    "DocumentDeleted",
    "Hit",
    "IndexedDocument",
    "IngestJob",
    "IngestProblem",
    "ListPage",
    "NearDuplicateList",
    "SearchAnswer",
]

ItemT = TypeVar("ItemT")


class ListPage(Page[ItemT], Generic[ItemT]):
    """A page of a list that goes on after ``last_id``."""

    object: str
    data: list[ItemT]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False

    def items(self) -> list[ItemT]:
        """What is on it."""
        return self.data

    def following(self) -> Mapping[str, Any] | None:
        """``after`` the last one."""
        return {"after": self.last_id} if self.has_more and self.last_id else None


class Part(BaseModel):
    """A part of a document. ``kind`` (``frame``, ``speech``, ``text``, ``whole``) is of a document's, ``score`` of
    a hit's; vectors if asked for.
    """

    part_index: int
    kind: str | None = None
    start_seconds: float | None
    end_seconds: float | None
    text: str | None
    score: float | None = None
    vector: list[float] | None = None
    vectors: dict[str, list[float]] | None = None


class Segment(BaseModel):
    """What is said in a stretch of time that matched."""

    start_seconds: float
    end_seconds: float
    text: str
    score: float


class Hit(BaseModel):
    """A document that was found. What was not asked for by ``include``, or does not apply, is ``None``."""

    id: str
    type: str
    media_id: str | None
    similarity_score: float
    url: str | None = None
    vector_score: float | None = None
    text_score: float | None = None
    metadata: dict[str, Any] | None = None
    text: str | None = None
    matched_frames: list[int] | None = None
    matched_frame_times: list[float | None] | None = None
    matched_segments: list[Segment] | None = None
    matches: list[Part] | None = None
    vector: list[float] | None = None
    same_content: bool | None = None


class ScoreKind(BaseModel):
    """What a score is, and in words."""

    kind: str
    meaning: str


class SearchAnswer(Page[Hit]):
    """Hits, best first. ``manymodal`` says what was seen in media that were searched by."""

    results: list[Hit]
    score: ScoreKind
    version: int
    has_more: bool
    next_cursor: str | None = None
    manymodal: dict[str, Any] | None = None

    def items(self) -> list[Hit]:
        """The hits."""
        return self.results

    def following(self) -> Mapping[str, Any] | None:
        """The cursor."""
        return {"cursor": self.next_cursor} if self.next_cursor else None


class NearDuplicateList(BaseModel):
    """Documents that are nearly the same, most alike first."""

    object: str
    data: list[Hit]
    score: ScoreKind


class Space(BaseModel):
    """An embedding space of a collection."""

    name: str
    dimensions: int
    model: str


class Index(BaseModel):
    """How a collection's vectors are searched."""

    kind: str
    storage: str
    dimensions: int | None


class Collection(BaseModel):
    """``rows`` are the parts of its ``documents``; ``version`` grows with every change."""

    name: str
    object: str
    spaces: list[Space]
    index: Index
    version: int
    rows: int
    documents: int
    modalities: dict[str, int]
    aliases: list[str]
    created_at: int


class CollectionList(BaseModel):
    """All collections, by name."""

    object: str
    data: list[Collection]


class CollectionDeleted(BaseModel):
    """The answer to a deletion."""

    name: str
    object: str
    deleted: bool


class Alias(BaseModel):
    """Another name of a collection."""

    alias: str
    object: str
    collection: str


class AliasDeleted(BaseModel):
    """The answer to a deletion; the collection stays."""

    alias: str
    object: str
    collection: str
    deleted: bool


class Document(BaseModel):
    """A document; ``parts`` if asked for."""

    id: str
    object: str
    collection: str
    type: str
    media_id: str | None
    created_at: int
    url: str | None = None
    metadata: dict[str, Any] | None = None
    parts: list[Part] | None = None


class IndexedDocument(BaseModel):
    """What was written, and the version of the collection that has it."""

    id: str
    object: str
    collection: str
    parts: int
    version: int
    weights: dict[str, float] | None = None
    manymodal: dict[str, Any] | None = None


class DocumentDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: str
    deleted: bool
    version: int


class Trouble(BaseModel):
    """Why something was skipped or failed."""

    code: str
    message: str


class BatchOutcome(BaseModel):
    """What became of one document: ``indexed``, ``skipped`` or ``failed``."""

    id: str | None
    status: str
    parts: int
    media_id: str | None
    error: Trouble | None


class DocumentBatch(BaseModel):
    """What became of each, in order, and the version that has them all."""

    object: str
    collection: str
    version: int | None
    data: list[BatchOutcome]


class Representative(BaseModel):
    """A document of a cluster."""

    id: str
    type: str
    media_id: str | None
    url: str | None = None
    metadata: dict[str, Any] | None = None
    text: str | None = None


class Cluster(BaseModel):
    """A group of documents; its ``representatives`` are those nearest to the centre."""

    size: int
    mean_similarity: float
    representatives: list[Representative]
    centre: list[float] | None = None


class ClusterList(BaseModel):
    """Groups, largest first."""

    object: str
    data: list[Cluster]


class Place(BaseModel):
    """Where a document is on a map, and the number of its cluster."""

    id: str
    type: str
    media_id: str | None
    x: float
    y: float
    cluster: int


class CollectionMap(BaseModel):
    """Documents on a plane. ``explained`` is the share of all differences that each axis shows. ``sampled`` of the
    ``documents`` there are were looked at (all, as a rule) and are in ``clusters``.
    """

    object: str
    method: str
    explained: list[float]
    documents: int
    sampled: int | None = None
    data: list[Place]
    clusters: list[Cluster]


class Counts(BaseModel):
    """Items that have ended, and how."""

    processed: int
    indexed: int
    skipped: int
    failed: int


class IngestJob(BaseModel):
    """A job. ``rate`` is in items a second."""

    id: str
    object: str
    kind: str
    collection: str
    source: str | None
    alias: str | None
    status: str
    error: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    total: int | None
    counts: Counts
    rate: float | None
    eta_seconds: float | None
    version: int | None
    statistics: dict[str, float]

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens any more, unless it is resumed."""
        return self.status in ("completed", "failed", "cancelled")


class IngestProblem(BaseModel):
    """An item that was skipped or failed; ``index`` is its place in the list."""

    index: int
    id: str | None
    source: str | None
    status: str
    code: str | None
    message: str | None
