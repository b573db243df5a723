"""``/v1/ingest``: jobs over long lists, in the background."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from serving.client.calls import AsyncResource, SyncResource, call, listed, planned
from serving.client.found import IngestJob, IngestProblem, ListPage
from serving.client.requests import Pause, Request
from serving.client.sending import Plan

__all__ = ["AsyncIngest", "Ingest"]

_FIRST_WAIT_SECONDS = 0.2
_GROWTH = 1.5


class IngestCalls:
    """Ingest jobs."""

    @call(IngestJob, "POST /ingest")
    def create(
        self,
        collection: str | None = None,
        *,
        items: Iterable[Mapping[str, Any]] | None = None,
        file_id: str | None = None,
        format: str | None = None,  # noqa: A002 - its name in the API
        ocr: str | None = None,
        min_side: int | None = None,
        on_duplicate: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Request:
        """Index ``items`` (``{"url" | "file_id" | "text", "id", "filename", "metadata"}``, up to 100,000), or the
        uploaded list ``file_id`` (``csv``, ``jsonl``, ``parquet``, ``urls``).

        The call is repeated when the connection breaks: two jobs may come of it, which write the same documents.
        """
        return Request(
            body={
                "collection": collection,
                "items": None if items is None else [dict(item) for item in items],
                "file_id": file_id,
                "format": format,
                "ocr": ocr,
                "min_side": min_side,
                "on_duplicate": on_duplicate,
                "metadata": metadata,
            }
        )

    @call(IngestJob, "POST /ingest")
    def reembed(
        self,
        source: str,
        collection: str,
        *,
        alias: str | None = None,
        ocr: str | None = None,
        min_side: int | None = None,
    ) -> Request:
        """Encode the documents of ``source`` anew into ``collection``, then point ``alias`` to it."""
        reembed = {"source": source} if alias is None else {"source": source, "alias": alias}
        return Request(body={"collection": collection, "reembed": reembed, "ocr": ocr, "min_side": min_side})

    @listed(ListPage[IngestJob], "GET /ingest")
    def list(self, *, limit: int | None = None, after: str | None = None) -> Request:
        """All jobs, newest first. ``limit`` is the size of a page (1 to 100)."""
        return Request(query={"limit": limit, "after": after})

    @call(IngestJob, "GET /ingest/{job_id}")
    def get(self, job_id: str) -> Request:
        """How far it is."""
        return Request({"job_id": job_id})

    @listed(ListPage[IngestProblem], "GET /ingest/{job_id}/errors")
    def errors(self, job_id: str, *, limit: int | None = None, after: str | None = None) -> Request:
        """What was skipped and what failed. ``limit`` is the size of a page (1 to 1000)."""
        return Request({"job_id": job_id}, query={"limit": limit, "after": after})

    @call(IngestJob, "POST /ingest/{job_id}/cancel")
    def cancel(self, job_id: str) -> Request:
        """Stop it; what was indexed stays. No error when it has ended."""
        return Request({"job_id": job_id})

    @call(IngestJob, "POST /ingest/{job_id}/resume")
    def resume(self, job_id: str) -> Request:
        """Let a cancelled or failed job go on where it stopped. Raises ``ConflictError`` for a complete one."""
        return Request({"job_id": job_id})

    @planned
    def wait(
        self, job_id: str, *, timeout_seconds: float | None = None, longest_pause_seconds: float = 5.0
    ) -> Plan[IngestJob]:
        """The job when it has ended, however that was: see its ``status``. Asks again and again, ever less often.

        Raises ``TimeoutError`` when it has not ended after ``timeout_seconds``; the job goes on.
        """
        until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        pause = _FIRST_WAIT_SECONDS
        while True:
            job: IngestJob = yield IngestCalls.get.ask(job_id)
            if job.has_ended:
                return job
            left = pause if until is None else until - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"The ingest job {job_id} is still {job.status} after {timeout_seconds} s."
                )
            yield Pause(min(pause, left, longest_pause_seconds))
            pause = min(_GROWTH * pause, longest_pause_seconds)


class Ingest(IngestCalls, SyncResource):
    """``client.ingest``."""


class AsyncIngest(IngestCalls, AsyncResource):
    """``client.ingest``, to be awaited."""
