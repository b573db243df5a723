"""Wire schema of ``POST /v1/search`` and ``POST /v1/recommend``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
)
from pydantic_core import PydanticCustomError

__all__ = [
    "COLLECTION_PATTERN",
    "ID_PATTERN",
    "MAX_VECTOR_NUMBERS",
    "SPACE_PATTERN",
    "DateRange",
    "ExampleItem",
    "Include",
    "MixedPart",
    "Modality",
    "Name",
    "QueryItem",
    "RecommendRequest",
    "Rerank",
    "ScoreThresholds",
    "SearchFilters",
    "SearchRequest",
    "Wanted",
    "Weights",
]

COLLECTION_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"
ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,127}$"
SPACE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"
MAX_VECTOR_NUMBERS = 16_384

Modality: TypeAlias = Literal["text", "image", "audio", "video"]
Name: TypeAlias = Annotated[StrictStr, Field(pattern=COLLECTION_PATTERN)]
"""Of a collection, or an alias of one."""

Include: TypeAlias = Literal["metadata", "text", "matches", "url", "vector"]
Score: TypeAlias = Annotated[StrictFloat | StrictInt, Field(ge=-1, le=1)]


def _counts(weight: float) -> float:
    if weight == 0:
        raise PydanticCustomError("weight_zero", "a weight of 0 counts for nothing; leave the item out")
    return weight


Weight: TypeAlias = Annotated[StrictFloat | StrictInt, Field(ge=-1000, le=1000), AfterValidator(_counts)]
Positive: TypeAlias = Annotated[StrictFloat | StrictInt, Field(gt=0, le=1000)]
Share: TypeAlias = Annotated[StrictFloat | StrictInt, Field(ge=0, le=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _form(content: Any) -> str:
    """Which form an item's content has, so that what is wrong with it is told of that one."""
    if not isinstance(content, list):
        return "string"
    return "parts" if content and isinstance(content[0], dict | MixedPart) else "numbers"


class MixedPart(_Strict):
    """A part of a ``mixed`` item; ``content`` as of an item of its type."""

    type: Modality
    content: Annotated[StrictStr, Field(min_length=1)]


class QueryItem(_Strict):
    """One thing to look for, and how much it counts; with a negative weight, what to keep away from.

    ``content`` is a text; of an image, audio or video a ``data:`` URL, http(s) URL or media id; of a ``document``
    its id in the collection; of a ``vector`` its numbers; of a ``mixed`` item its parts, which get one vector
    together. ``space`` is for documents and vectors, ``include_itself`` for documents, which are else left out of
    the answer.
    """

    type: Literal["text", "image", "audio", "video", "mixed", "document", "vector"]
    content: Annotated[
        Annotated[StrictStr, Field(min_length=1), Tag("string")]
        | Annotated[list[MixedPart], Field(min_length=1, max_length=16, fail_fast=True), Tag("parts")]
        | Annotated[
            list[StrictFloat | StrictInt],
            Field(min_length=1, max_length=MAX_VECTOR_NUMBERS, fail_fast=True),
            Tag("numbers"),
        ],
        Discriminator(_form),
    ]
    weight: Weight = 1.0
    space: Annotated[StrictStr, Field(pattern=SPACE_PATTERN)] | None = None
    include_itself: StrictBool = False


class DateRange(BaseModel):
    """Bounds of the time a document was added: ISO dates or date-times, UTC when no zone is given."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    from_: Annotated[StrictStr | None, Field(alias="from")] = None
    to: StrictStr | None = None


class SearchFilters(BaseModel):
    """Conditions on metadata, all of which must hold.

    ``date_range`` is a rule such as ``last_30_days`` or bounds of the time of adding. Every other name is one of
    the metadata's and stands for its value, or for an object of ``eq``, ``ne``, ``gt``, ``gte``, ``lt``, ``lte``,
    ``in`` and ``exists``. ``and`` and ``or`` hold lists of such objects, ``not`` one. ``serving.retrieval.filters``
    reads what is below.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "properties": {
                "date_range": {
                    "anyOf": [
                        {"type": "string", "examples": ["last_30_days"]},
                        {"$ref": "#/components/schemas/DateRange"},
                    ]
                },
                "and": {"type": "array", "items": {"$ref": "#/components/schemas/SearchFilters"}},
                "or": {"type": "array", "items": {"$ref": "#/components/schemas/SearchFilters"}},
                "not": {"$ref": "#/components/schemas/SearchFilters"},
            },
            "additionalProperties": {
                "anyOf": [
                    {"type": ["string", "number", "boolean"]},
                    {
                        "type": "object",
                        "properties": {
                            "eq": {"type": ["string", "number", "boolean"]},
                            "ne": {"type": ["string", "number", "boolean"]},
                            **{name: {"type": ["string", "number"]} for name in ("gt", "gte", "lt", "lte")},
                            "in": {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
                            "exists": {"type": "boolean"},
                        },
                        "additionalProperties": False,
                        "minProperties": 1,
                    },
                ]
            },
        },
    )
    __pydantic_extra__: dict[str, JsonValue]
    date_range: StrictStr | DateRange | None = None


class ScoreThresholds(_Strict):
    """The least cosine similarity by modality; those left out have none."""

    text: Score | None = None
    image: Score | None = None
    audio: Score | None = None
    video: Score | None = None


class Weights(_Strict):
    """How much the ranking by vectors and that by words count in ``hybrid``."""

    vector: Share = 1.0
    text: Share = 1.0


class Rerank(_Strict):
    """Order the best ``count`` documents anew: ``late_interaction`` holds every query item against every part of
    a document and takes its best match.
    """

    kind: Literal["late_interaction"] = "late_interaction"
    count: Annotated[StrictInt, Field(ge=1, le=100)] = 50


class Wanted(_Strict):
    """What searches and recommendations have in common: where, among what, how many, and what of each.

    ``cursor`` is the ``next_cursor`` of the answer before to the same request. ``min_version`` makes sure that the
    answer has seen that version of the collection.
    """

    collection: Name = "default"
    search_modalities: Annotated[list[Modality], Field(max_length=16)] = []
    top_k: Annotated[StrictInt, Field(ge=1)] = 10
    filters: SearchFilters = SearchFilters()
    score_threshold: Score | ScoreThresholds | None = None
    min_version: Annotated[StrictInt, Field(ge=0, lt=1 << 63)] | None = None
    include: Annotated[list[Include], Field(max_length=16)] = ["metadata", "text", "matches", "url"]
    cursor: Annotated[StrictStr, Field(min_length=1, max_length=1024)] | None = None


class SearchRequest(Wanted):
    """What to find, in which modalities, among what, and how.

    ``mode`` ``vector`` finds what is meant, ``text`` the words of the query's texts (BM25), ``hybrid`` both, fused
    by reciprocal rank: ``rank_constant`` and ``weights`` are of that.
    """

    query: QueryItem | Annotated[list[QueryItem], Field(min_length=1, max_length=16)]
    mode: Literal["vector", "text", "hybrid"] = "vector"
    rank_constant: Annotated[StrictFloat | StrictInt, Field(gt=0, le=10_000)] | None = None
    weights: Weights | None = None
    rerank: Rerank | None = None


class ExampleItem(_Strict):
    """An example by the id of a document in the collection, or of a stored file, and how much it counts.

    Positive ones are averaged by weight (1 each); of the mean of the positive so much is taken away as the mean of
    the negative by weight (0.5 each) says: Rocchio's feedback.
    """

    id: Annotated[StrictStr, Field(pattern=ID_PATTERN)]
    weight: Positive | None = None


Example: TypeAlias = Annotated[StrictStr, Field(pattern=ID_PATTERN)] | ExampleItem


class RecommendRequest(Wanted):
    """More like ``positive`` and less like ``negative``, or like what a user has in the collection (documents whose
    metadata ``user_id`` is theirs, the newest counting most), or both. Examples and the user's own documents are
    not in the answer.
    """

    positive: Annotated[list[Example], Field(max_length=64)] = []
    negative: Annotated[list[Example], Field(max_length=64)] = []
    user_id: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = None
    space: Annotated[StrictStr, Field(pattern=SPACE_PATTERN)] | None = None
