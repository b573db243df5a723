"""Wire schema of ``POST /v1/search`` and of collections' documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

__all__ = [
    "COLLECTION_PATTERN",
    "DateRange",
    "DocumentRequest",
    "QueryItem",
    "SearchRequest",
]

COLLECTION_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"
_ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,127}$"

Modality = Literal["text", "image", "audio", "video"]
_Scalar = StrictStr | bool | StrictInt | StrictFloat


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class QueryItem(_Strict):
    """One query: a text, or a medium by ``data:`` URL, http(s) URL or media id, and how much it counts."""

    type: Modality
    content: Annotated[StrictStr, Field(min_length=1)]
    weight: Annotated[StrictFloat | StrictInt, Field(gt=0, le=1000)] = 1.0


class DateRange(BaseModel):
    """Bounds of the time a document was added: ISO dates or date-times, UTC when no zone is given."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    from_: Annotated[StrictStr | None, Field(alias="from")] = None
    to: StrictStr | None = None


class SearchFilters(BaseModel):
    """``date_range`` is a rule such as ``last_30_days`` or bounds; other names equal the metadata."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _Scalar]
    date_range: StrictStr | DateRange | None = None


class SearchRequest(_Strict):
    """What to find, in which modalities, among what."""

    query: QueryItem | Annotated[list[QueryItem], Field(min_length=1, max_length=16)]
    search_modalities: list[Modality] = []
    top_k: Annotated[StrictInt, Field(ge=1)] = 10
    filters: SearchFilters = SearchFilters()
    score_threshold: Annotated[StrictFloat | StrictInt, Field(ge=-1, le=1)] | None = None
    collection: Annotated[StrictStr, Field(pattern=COLLECTION_PATTERN)] = "default"
    min_version: Annotated[StrictInt, Field(ge=0)] | None = None


class DocumentRequest(_Strict):
    """A document to make searchable: exactly one of ``media_id`` and ``text``."""

    media_id: StrictStr | None = None
    text: Annotated[StrictStr, Field(min_length=1)] | None = None
    id: Annotated[StrictStr, Field(pattern=_ID_PATTERN)] | None = None
    metadata: Annotated[
        dict[Annotated[StrictStr, Field(min_length=1, max_length=64)], Any], Field(max_length=32)
    ] = {}
