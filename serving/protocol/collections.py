"""Wire schema of ``/v1/collections``: collections, aliases, documents, clusters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

from search.types import CollectionInfo, CollectionSpec, IndexKind, IndexSpec, SpaceSpec, VectorStorage
from serving.errors import InvalidRequest
from serving.protocol.search import (
    ID_PATTERN,
    MAX_VECTOR_NUMBERS,
    SPACE_PATTERN,
    Modality,
    Name,
    SearchFilters,
)

__all__ = [
    "Alias",
    "AliasDeleted",
    "ClusterRequest",
    "Collection",
    "CollectionDeleted",
    "CollectionList",
    "CollectionRequest",
    "DocumentDeleted",
    "DocumentFacts",
    "DocumentRequest",
    "Index",
    "IndexedDocumentAnswer",
    "MapRequest",
    "Space",
    "collection_object",
    "spec_of",
]

MAX_SPACES = 8
_MAX_MODEL_CHARACTERS = 256


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Space(_Strict):
    """An embedding space: its name, the length of its vectors, and whose they are (``name@revision``; ``""``: not
    said).
    """

    name: Annotated[StrictStr, Field(pattern=SPACE_PATTERN)]
    dimensions: Annotated[StrictInt, Field(ge=1, le=MAX_VECTOR_NUMBERS)]
    model: Annotated[StrictStr, Field(max_length=_MAX_MODEL_CHARACTERS)] = ""


class Index(_Strict):
    """How many vectors are searched: the kind of index, how it holds vectors in memory (all but ``float32`` are
    scored again on the full vectors), and of Matryoshka embeddings how many numbers it looks at.
    """

    kind: IndexKind = "auto"
    storage: VectorStorage = "float32"
    dimensions: Annotated[StrictInt, Field(ge=1, le=MAX_VECTOR_NUMBERS)] | None = None


class CollectionRequest(_Strict):
    """A collection to make. Without ``spaces`` it has the platform's own, named ``default``, in which texts and
    media are placed. Further ones are for vectors of one's own and come after it. A list that names ``default``
    itself, without a model, makes that one for vectors of one's own, too. Without ``index`` vectors are indexed as
    the settings say.
    """

    name: Name
    spaces: Annotated[list[Space], Field(min_length=1, max_length=MAX_SPACES)] | None = None
    index: Index | None = None


class Collection(BaseModel):
    """What there is to say of a collection. ``rows`` are the parts of its ``documents``; ``modalities`` counts
    documents by type. ``version`` grows with every change.
    """

    name: str
    object: Literal["collection"] = "collection"
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

    object: Literal["list"] = "list"
    data: list[Collection]


class CollectionDeleted(BaseModel):
    """The answer to a deletion."""

    name: str
    object: Literal["collection.deleted"] = "collection.deleted"
    deleted: Literal[True] = True


class Alias(BaseModel):
    """Another name of a collection."""

    alias: str
    object: Literal["collection.alias"] = "collection.alias"
    collection: str


class AliasDeleted(BaseModel):
    """The answer to a deletion; the collection stays."""

    alias: str
    object: Literal["collection.alias.deleted"] = "collection.alias.deleted"
    collection: str
    deleted: Literal[True] = True


class DocumentRequest(_Strict):
    """A document to make searchable: ``media_id`` or ``text``, or both of them as one part with one vector; or
    ``vectors`` of one's own, alone or with these.

    ``vectors`` holds vectors by the name of their space. One for ``default`` is taken in place of what the
    platform's models would make: the document is then one part and nothing is perceived. ``modality`` is of a
    document that has vectors only.
    """

    media_id: StrictStr | None = None
    text: Annotated[StrictStr, Field(min_length=1)] | None = None
    id: Annotated[StrictStr, Field(pattern=ID_PATTERN)] | None = None
    metadata: Annotated[
        dict[Annotated[StrictStr, Field(min_length=1, max_length=64)], Any], Field(max_length=32)
    ] = {}
    vectors: Annotated[
        dict[
            Annotated[StrictStr, Field(pattern=SPACE_PATTERN)],
            Annotated[
                list[StrictFloat | StrictInt],
                Field(min_length=1, max_length=MAX_VECTOR_NUMBERS, fail_fast=True),
            ],
        ],
        Field(max_length=MAX_SPACES),
    ] = {}
    modality: Modality | None = None


class DocumentFacts(BaseModel):
    """What a document lacks because a part of the platform was down; index it again to have it whole."""

    degraded: list[str]


class IndexedDocumentAnswer(BaseModel):
    """What was written: in how many parts, and the collection's version that has it; of a medium with a text how
    much each modality counts in their vector.
    """

    id: str
    object: Literal["document"] = "document"
    collection: str
    parts: int
    version: int
    weights: dict[str, float] | None = None
    manymodal: DocumentFacts | None = None


class DocumentDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["document.deleted"] = "document.deleted"
    deleted: Literal[True] = True
    version: int


class ClusterRequest(_Strict):
    """How many groups to make of the documents that the filters let through (no ``date_range``)."""

    count: Annotated[StrictInt, Field(ge=1, le=1000)]
    filters: SearchFilters = SearchFilters()
    include: Annotated[list[Literal["metadata", "url", "vector"]], Field(max_length=16)] = ["metadata", "url"]


class MapRequest(_Strict):
    """How many documents to place at most, of those that the filters let through (no ``date_range``), and into how
    many groups to divide these, or a sample of 2,000 of them.
    """

    limit: Annotated[StrictInt, Field(ge=1, le=2000)] = 500
    count: Annotated[StrictInt, Field(ge=1, le=100)] = 8
    filters: SearchFilters = SearchFilters()
    include: Annotated[list[Literal["metadata", "url", "vector"]], Field(max_length=16)] = ["metadata", "url"]


def spec_of(wanted: CollectionRequest, default: SpaceSpec, settings: IndexSpec) -> CollectionSpec | None:
    """What to make; ``None`` for what the settings say. ``default`` is the platform's own space, ``settings`` are
    those of indexes that are not described.

    Raises ``InvalidRequest`` for two spaces of one name, and for a default space of a model that the platform does
    not have: nothing could be placed there.
    """
    names = [space.name for space in wanted.spaces or ()]
    for index, space in enumerate(wanted.spaces or ()):
        if space.name in names[:index]:
            raise InvalidRequest("Two spaces have the same name.", f"spaces[{index}].name")
        if space.name == default.name and space.model not in ("", default.model):
            raise InvalidRequest(
                f"The space '{default.name}' is of the platform's model, '{default.model}'. Leave 'model' out to "
                "have it for vectors of your own.",
                f"spaces[{index}].model",
            )
    if wanted.spaces is None and wanted.index is None:
        return None
    given = [SpaceSpec(space.name, space.dimensions, space.model) for space in wanted.spaces or ()]
    first = [space for space in given if space.name == default.name] or [default]
    others = [space for space in given if space.name != default.name]
    if wanted.index is not None:
        settings = IndexSpec(wanted.index.kind, wanted.index.storage, wanted.index.dimensions)
    return CollectionSpec((*first, *others), settings)


def collection_object(info: CollectionInfo) -> Collection:
    """A collection on the wire."""
    index = info.spec.index
    return Collection(
        name=info.name,
        spaces=[
            Space(name=space.name, dimensions=space.dimensions, model=space.model)
            for space in info.spec.spaces
        ],
        index=Index(kind=index.kind, storage=index.storage, dimensions=index.dimensions),
        version=info.version,
        rows=info.rows,
        documents=info.documents,
        modalities=dict(info.modalities),
        aliases=list(info.aliases),
        created_at=int(info.created_at_seconds),
    )
