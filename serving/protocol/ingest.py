"""Wire schema of ``/v1/ingest`` and of batches of documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from serving.ingest.ingest import JobView
from serving.ingest.items import IngestOptions, OcrMode, OnDuplicate, Outcome
from serving.ingest.manifests import ManifestFormat
from serving.ingest.statistics import IngestStatistics
from serving.protocol.search import COLLECTION_PATTERN, ID_PATTERN

__all__ = [
    "BatchItem",
    "BatchRequest",
    "IngestItem",
    "IngestJob",
    "IngestJobList",
    "IngestReport",
    "IngestRequest",
    "batch_answer",
    "job_object",
    "report_line",
]

MAX_BATCH_ITEMS = 128
MAX_REQUEST_ITEMS = 100_000

_Metadata = Annotated[
    dict[Annotated[StrictStr, Field(min_length=1, max_length=64)], Any], Field(max_length=32)
]
_Id = Annotated[StrictStr, Field(pattern=ID_PATTERN)]
_Url = Annotated[StrictStr, Field(pattern=r"^(?i:https?)://", max_length=4096)]
_Text = Annotated[StrictStr, Field(min_length=1)]
_Name = Annotated[StrictStr, Field(min_length=1, max_length=255)]
_Collection = Annotated[StrictStr, Field(pattern=COLLECTION_PATTERN)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class IngestItem(_Strict):
    """One thing to index: exactly one of ``url``, ``file_id`` and ``text``. Without ``id`` the document has an id
    that the same source has every time.
    """

    url: _Url | None = None
    file_id: StrictStr | None = None
    text: _Text | None = None
    id: _Id | None = None
    filename: _Name | None = None
    metadata: _Metadata = {}


class BatchItem(IngestItem):
    """As an item of a job, or ``file``: the name of the form's field that brings its bytes."""

    file: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None


class _Options(_Strict):
    ocr: OcrMode | None = None
    min_side: Annotated[StrictInt, Field(ge=0, le=100_000)] = 0
    on_duplicate: OnDuplicate = "skip"
    metadata: _Metadata = {}

    def options(self) -> IngestOptions:
        """As the pipeline takes them."""
        return IngestOptions(self.ocr or self._default_ocr(), self.min_side, self.on_duplicate, self.metadata)

    def _default_ocr(self) -> OcrMode:
        return "off"


class Reembedding(_Strict):
    """The collection to encode anew, and the alias to point to the new one in the end."""

    source: _Collection
    alias: _Collection | None = None


class IngestRequest(_Options):
    """A job: the ``items`` themselves, the ``file_id`` of an uploaded list, or a collection to ``reembed`` into
    ``collection``.

    ``ocr`` is whether the writing in pictures is read: of none (the default), of those that look like bearing some
    (``auto``; the default of ``reembed``, so that what was read is not lost), or of all, which takes about a second
    each on two cores.
    """

    collection: _Collection = "default"
    items: (
        Annotated[list[IngestItem], Field(min_length=1, max_length=MAX_REQUEST_ITEMS, fail_fast=True)] | None
    ) = None
    file_id: StrictStr | None = None
    format: ManifestFormat | None = None
    reembed: Reembedding | None = None

    def _default_ocr(self) -> OcrMode:
        return "off" if self.reembed is None else "auto"


class BatchRequest(_Options):
    """Documents to index at once."""

    documents: Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_BATCH_ITEMS, fail_fast=True)]


class Counts(BaseModel):
    """Items that have ended, and how."""

    processed: int
    indexed: int
    skipped: int
    failed: int


class IngestJob(BaseModel):
    """A job. ``rate`` is in items a second since the present run began, ``eta_seconds`` what is left at that rate;
    ``statistics`` are of all runs so far, final when the job has ended.
    """

    id: str
    object: Literal["ingest"] = "ingest"
    kind: Literal["ingest", "reembed"]
    collection: str
    source: str | None
    alias: str | None
    status: Literal["queued", "running", "cancelling", "completed", "failed", "cancelled"]
    error: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    total: int | None
    counts: Counts
    rate: float | None
    eta_seconds: float | None
    version: int | None
    statistics: dict[str, float | int]


class IngestJobList(BaseModel):
    """One page of jobs, newest first; ``last_id`` is the next page's ``after``."""

    object: Literal["list"] = "list"
    data: list[IngestJob]
    last_id: str | None
    has_more: bool


class IngestReport(BaseModel):
    """One page of what was skipped or failed; ``last_id`` is the next page's ``after``."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    last_id: str | None
    has_more: bool


def job_object(view: JobView) -> IngestJob:
    """A job on the wire."""
    job, state = view.job, view.state
    rate = eta = None
    if state.status == "running" and state.started_at_seconds and state.updated_at_seconds:
        seconds = state.updated_at_seconds - state.started_at_seconds
        if seconds > 0 and state.processed > state.processed_before:
            rate = round((state.processed - state.processed_before) / seconds, 3)
            if job.total is not None:
                eta = round((job.total - state.processed) / rate, 1) if rate > 0 else None
    counted = IngestStatistics(state.indexed, state.skipped, state.failed)
    return IngestJob(
        id=job.id,
        kind=job.kind,
        collection=job.collection,
        source=job.source,
        alias=job.alias,
        status="cancelling" if view.is_stopping else state.status,
        error=state.error,
        created_at=int(job.created_at_seconds),
        started_at=None if state.started_at_seconds is None else int(state.started_at_seconds),
        ended_at=None if state.ended_at_seconds is None else int(state.ended_at_seconds),
        total=job.total,
        counts=Counts(processed=counted.processed, **counted.counts()),
        rate=rate,
        eta_seconds=eta,
        version=state.version,
        statistics=counted.final(state.seconds),
    )


def report_line(outcome: Outcome) -> dict[str, Any]:
    """What was skipped or failed, on the wire. ``index`` is the item's place in the list."""
    return {
        "index": outcome.number,
        "id": outcome.document_id,
        "source": outcome.source,
        "status": outcome.status,
        "code": outcome.code,
        "message": outcome.message,
    }


def batch_answer(collection: str, outcomes: list[Outcome]) -> dict[str, Any]:
    """The answer to a batch: what became of each document, in order, and the version that holds them all."""
    versions = [one.version for one in outcomes if one.version is not None]
    return {
        "object": "document.batch",
        "collection": collection,
        "version": max(versions, default=None),
        "data": [
            {
                "id": one.document_id,
                "status": one.status,
                "parts": one.parts,
                "media_id": one.media_id,
                "error": None if one.status == "indexed" else {"code": one.code, "message": one.message},
            }
            for one in outcomes
        ],
    }
