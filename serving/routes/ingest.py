"""``/v1/ingest``: jobs over long lists. ``/v1/collections/{collection}/documents/batch``: some at once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, BinaryIO, cast

from fastapi import APIRouter, Path, Query, Request
from starlette.datastructures import FormData, UploadFile

from serving import origin
from serving.auth import CurrentTenant
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest
from serving.gateway import gateway_of
from serving.ingest.items import Item
from serving.protocol.ingest import (
    MAX_BATCH_ITEMS,
    MAX_REQUEST_ITEMS,
    BatchItem,
    BatchRequest,
    IngestItem,
    IngestJob,
    IngestJobList,
    IngestReport,
    IngestRequest,
    batch_answer,
    job_object,
    report_line,
)
from serving.protocol.parse import decode_json, validated
from serving.protocol.search import COLLECTION_PATTERN
from serving.routes.body import is_form, json_schema, open_form, read_model
from serving.spooling import SpoolView

__all__ = ["router"]

router = APIRouter()

_MAX_VALUES = 20 * MAX_REQUEST_ITEMS

Collection = Annotated[str, Path(pattern=COLLECTION_PATTERN)]

_PLACE = re.compile(r"([0-9]{1,12})-([0-9]{1,9})")
_MAX_FILENAME_CHARACTERS = 255
_SOURCES = ("url", "file_id", "text", "file")


@router.post("/v1/ingest", openapi_extra=json_schema(IngestRequest))
async def create_ingest_job(request: Request, tenant: CurrentTenant) -> IngestJob:
    """Index a long list in the background."""
    ingest = gateway_of(request).ingest
    wanted = await read_model(request, IngestRequest, max_values=_MAX_VALUES)
    given = [name for name in ("items", "file_id", "reembed") if getattr(wanted, name) is not None]
    if len(given) != 1:
        raise InvalidRequest("A job needs exactly one of 'items', 'file_id' and 'reembed'.", "items")
    for name, place in (("format", "file_id"), ("metadata", None), ("on_duplicate", None)):
        # Documents that are encoded anew keep their metadata, and are all taken.
        is_idle = given[0] == "reembed" if place is None else given[0] != place
        if is_idle and name in wanted.model_fields_set:
            raise InvalidRequest(f"'{name}' means nothing beside '{given[0]}'.", name)
    options = wanted.options()
    if wanted.items is not None:
        entries = _entries(wanted.items)  # read, and refused, where the list is written: there may be many
        begin: Callable[[], Any] = partial(ingest.begin, tenant, wanted.collection, entries, options)
    elif wanted.file_id is not None:
        begin = partial(
            ingest.begin_manifest, tenant, wanted.collection, wanted.file_id, wanted.format, options
        )
    else:
        source, alias = (wanted.reembed.source, wanted.reembed.alias) if wanted.reembed else ("", None)
        await ingest.check_reembedding(tenant, source, wanted.collection, alias)
        begin = partial(ingest.begin_reembedding, tenant, source, wanted.collection, alias, options)
    await gateway_of(request).collection_limit.check(tenant, wanted.collection)
    view = await asyncio.to_thread(begin)
    ingest.runner.wake()
    return job_object(view)


@router.get("/v1/ingest")
async def list_ingest_jobs(
    request: Request,
    tenant: CurrentTenant,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> IngestJobList:
    """Jobs, newest first."""
    views = await asyncio.to_thread(gateway_of(request).ingest.views, tenant, after, limit + 1)
    data = [job_object(view) for view in views[:limit]]
    return IngestJobList(data=data, last_id=data[-1].id if data else None, has_more=len(views) > limit)


@router.get("/v1/ingest/{job_id}")
async def get_ingest_job(request: Request, job_id: str, tenant: CurrentTenant) -> IngestJob:
    """How far a job is."""
    return job_object(await asyncio.to_thread(gateway_of(request).ingest.view, tenant, job_id))


@router.get("/v1/ingest/{job_id}/errors")
async def get_ingest_errors(
    request: Request,
    job_id: str,
    tenant: CurrentTenant,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> IngestReport:
    """What a job skipped and what failed, with the reasons."""
    place = None
    if after is not None:
        found = _PLACE.fullmatch(after)
        if found is None:
            raise InvalidRequest("'after' must be the 'last_id' of a page.", "after")
        place = int(found[1]), int(found[2])
    ingest = gateway_of(request).ingest
    lines = await asyncio.to_thread(lambda: list(ingest.reported(tenant, job_id, place, limit + 1)))
    shown = lines[:limit]
    return IngestReport(
        data=[report_line(outcome) for _, _, outcome in shown],
        last_id=f"{shown[-1][0]}-{shown[-1][1]}" if shown else None,
        has_more=len(lines) > limit,
    )


@router.post("/v1/ingest/{job_id}/cancel")
async def cancel_ingest_job(request: Request, job_id: str, tenant: CurrentTenant) -> IngestJob:
    """Stop a job. What it has indexed stays; it can be resumed."""
    ingest = gateway_of(request).ingest
    view = await asyncio.to_thread(ingest.cancel, tenant, job_id)
    ingest.runner.stop(view.job)
    return job_object(view)


@router.post("/v1/ingest/{job_id}/resume")
async def resume_ingest_job(request: Request, job_id: str, tenant: CurrentTenant) -> IngestJob:
    """Let a cancelled or failed job go on where it stopped."""
    ingest = gateway_of(request).ingest
    view = await asyncio.to_thread(ingest.resume, tenant, job_id)
    ingest.runner.wake()
    return job_object(view)


@router.post("/v1/collections/{collection}/documents/batch", openapi_extra=json_schema(BatchRequest))
async def add_documents(request: Request, collection: Collection, tenant: CurrentTenant) -> dict[str, Any]:
    """Index some documents at once: JSON, or a multipart form whose field ``request`` is that JSON and whose files
    are the documents' ``file``. What is wrong with one is said in its place, the others are indexed all the same.
    """
    origin.brings("mixed")
    if not is_form(request):
        return await _batch(request, tenant, collection, await read_model(request, BatchRequest), {})
    async with open_form(request, max_files=MAX_BATCH_ITEMS) as form:
        body = form.get("request")
        if not isinstance(body, str):
            raise InvalidRequest(
                "Missing required parameter: 'request'.", "request", "missing_required_parameter"
            )
        wanted = validated(BatchRequest, decode_json(body.encode("utf-8", "surrogatepass")))
        return await _batch(request, tenant, collection, wanted, _files(form))


async def _batch(
    request: Request, tenant: str, collection: str, wanted: BatchRequest, files: Mapping[str, UploadFile]
) -> dict[str, Any]:
    gateway = gateway_of(request)
    items = [_item(number, one, files) for number, one in enumerate(wanted.documents)]
    with gateway.metrics.time_stage("index"):
        await gateway.collection_limit.check(tenant, collection)
        work = gateway.ingest.batch(tenant, collection, items, wanted.options())
        outcomes = await unless_gone(request, work)
    return batch_answer(collection, outcomes)


def _item(number: int, wanted: BatchItem, files: Mapping[str, UploadFile]) -> Item:
    _check_source(wanted, f"documents[{number}]")
    upload: Callable[[], BinaryIO] | None = None
    filename = wanted.filename
    if wanted.file is not None:
        file = files.get(wanted.file)
        if file is None:
            raise InvalidRequest(
                f"The form has no file under the name '{wanted.file}'.", f"documents[{number}].file"
            )
        if len(file.filename or "") > _MAX_FILENAME_CHARACTERS:
            raise InvalidRequest(
                f"The file name in '{wanted.file}' is longer than {_MAX_FILENAME_CHARACTERS} characters.",
                f"documents[{number}].file",
            )
        upload = cast(Callable[[], BinaryIO], partial(SpoolView, file.file))
        filename = filename or file.filename
    return Item(
        number,
        url=wanted.url,
        file_id=wanted.file_id,
        text=wanted.text,
        upload=upload,
        document_id=wanted.id,
        filename=filename,
        metadata=wanted.metadata,
    )


def _entries(items: Sequence[IngestItem]) -> Iterator[dict[str, Any]]:
    for place, item in enumerate(items):
        _check_source(item, f"items[{place}]")
        yield item.model_dump(exclude_none=True)


def _check_source(item: IngestItem, param: str) -> None:
    allowed = [name for name in _SOURCES if name in type(item).model_fields]
    if sum(getattr(item, name) is not None for name in allowed) != 1:
        names = ", ".join(f"'{name}'" for name in allowed)
        raise InvalidRequest(f"'{param}' needs exactly one of {names}.", param)


def _files(form: FormData) -> dict[str, UploadFile]:
    return {name: value for name, value in form.items() if isinstance(value, UploadFile)}
