"""Ingest jobs as records in the object store: what a gateway knows of a job, every other one can read.

Objects of one job:

- ``ingest/<tenant>/<job id>.json``: what was asked for, written once.
- ``ingest/<tenant>/<job id>.items``: the list, one JSON object a line, written before the record above.
- ``ingest/<tenant>/<job id>.state``: the last checkpoint, written by whoever holds the lease.
- ``ingest/<tenant>/<job id>.cancel``: empty; somebody wants it to stop.
- ``ingest-pending/<tenant>/<job id>``: empty; there is something to do. Written before a job may run, removed
  after its end is durable.
- ``ingest-reports/<tenant>/<job id>/<number>``: what was skipped or failed until checkpoint ``number``.
- ``ingest-leases/<tenant>/<job id>/<epoch>``: see ``serving.ingest.leases``.

A checkpoint follows a commit of rows: a run that dies between the two writes those documents again, under the same
ids, which changes nothing. A report is written before its checkpoint; the next run removes those that no checkpoint
came after.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Literal

from serving.errors import IngestJobNotFound
from serving.ingest.items import IngestOptions, Outcome
from serving.newest_first import newest_first_id
from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import CorruptObject, ObjectNotFound
from storage.keys import check_tenant
from storage.objects import ObjectStore, exists

__all__ = ["Job", "JobKind", "JobState", "JobStatus", "JobStore", "item_line"]

JobKind = Literal["ingest", "reembed"]
JobStatus = Literal["queued", "running", "completed", "failed", "cancelled"]

_ID = re.compile(r"ingest_[0-9a-f]{32}")
_VERSION = 1
_NUMBER_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for. ``total`` is the length of the list; ``None`` when nobody knows (``reembed``).

    ``source``, of a ``reembed`` job, is the collection that is read, and ``alias`` what points to ``collection`` at
    its end.
    """

    id: str
    tenant: str
    collection: str
    kind: JobKind
    options: IngestOptions
    total: int | None
    created_at_seconds: float
    source: str | None = None
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class JobState:
    """A checkpoint. Items below ``done_below`` and the ranges ``done_above`` (first, after the last) have ended.

    ``number`` counts checkpoints. ``attempts`` counts runs, ``seconds`` is how long they took in all; the last one
    began at ``started_at_seconds`` with ``processed_before`` items done. ``after`` is the last document that a
    ``reembed`` job has done.
    """

    status: JobStatus = "queued"
    number: int = 0
    done_below: int = 0
    done_above: tuple[tuple[int, int], ...] = ()
    indexed: int = 0
    skipped: int = 0
    failed: int = 0
    attempts: int = 0
    seconds: float = 0.0
    started_at_seconds: float | None = None
    processed_before: int = 0
    updated_at_seconds: float | None = None
    ended_at_seconds: float | None = None
    error: str | None = None
    version: int | None = None
    after: str | None = None

    @property
    def processed(self) -> int:
        """How many items have ended."""
        return self.indexed + self.skipped + self.failed


class JobStore:
    """Jobs over an ``ObjectStore``; everything blocks. Ids of other tenants, unknown and malformed ones raise
    ``IngestJobNotFound`` alike.
    """

    def __init__(self, objects: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._objects = objects
        self.clock = clock

    def new_id(self) -> str:
        """An id for a job of now; those of later jobs come before it in order."""
        return newest_first_id("ingest_", self.clock())

    def create(self, job: Job, items: BinaryIO | None) -> None:
        """Write a job and its list; from then on any gateway may run it."""
        check_tenant(job.tenant)
        if items is not None:
            self._objects.put(_key(job, "items"), items)
        key = _key(job, "json")
        fields = {**asdict(job), "options": asdict(job.options)}
        self._objects.put(key, to_checked_json(key, {"record_version": _VERSION, **fields}))
        self._objects.put(_pending_key(job.tenant, job.id), b"")

    def get(self, tenant: str, job_id: str) -> Job:
        """A job."""
        check_tenant(tenant)
        if not _ID.fullmatch(job_id):
            raise _not_found()
        fields = self._read(f"ingest/{tenant}/{job_id}.json")
        if fields is None:
            raise _not_found()
        try:
            if fields.pop("record_version") != _VERSION:
                raise _damaged()
            options = IngestOptions(**fields.pop("options"))
            return Job(**fields, options=options)
        except (KeyError, TypeError) as error:
            raise _damaged() from error

    def list(self, tenant: str, after: str | None, limit: int) -> list[Job]:
        """A tenant's jobs, newest first, from the one after ``after`` on."""
        check_tenant(tenant)
        if after is not None and not _ID.fullmatch(after):
            raise _not_found()
        jobs: list[Job] = []
        start = None if after is None else f"ingest/{tenant}/{after}.z"
        for info in self._objects.list(f"ingest/{tenant}/", start):
            name = info.key.rpartition("/")[2]
            if not name.endswith(".json"):
                continue
            if len(jobs) == limit:
                break
            jobs.append(self.get(tenant, name.removesuffix(".json")))
        return jobs

    def items(self, job: Job) -> BinaryIO:
        """The list, to be closed."""
        try:
            return self._objects.open(_key(job, "items"))
        except ObjectNotFound as error:
            raise _damaged() from error

    def state(self, job: Job) -> JobState:
        """The last checkpoint."""
        fields = self._read(_key(job, "state"))
        if fields is None:
            return JobState()
        try:
            fields.pop("record_version")
            above = tuple((int(first), int(end)) for first, end in fields.pop("done_above"))
            return JobState(**fields, done_above=above)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged() from error

    def save(self, job: Job, state: JobState) -> None:
        """Write a checkpoint."""
        key = _key(job, "state")
        self._objects.put(key, to_checked_json(key, {"record_version": _VERSION, **asdict(state)}))

    def report(self, job: Job, number: int, outcomes: Sequence[Outcome]) -> None:
        """Write what was skipped or failed before checkpoint ``number``; nothing if that is none."""
        if outcomes:
            key = _report_prefix(job) + f"{number:0{_NUMBER_DIGITS}d}"
            self._objects.put(key, to_checked_json(key, {"outcomes": [asdict(one) for one in outcomes]}))

    def reported(
        self, job: Job, after: tuple[int, int] | None, limit: int
    ) -> Iterator[tuple[int, int, Outcome]]:
        """What was skipped or failed, each with its place: the checkpoint's number and its place there.

        From the one after the place ``after`` on; at most ``limit``, of what checkpoints have confirmed.
        """
        confirmed = self.state(job).number
        prefix = _report_prefix(job)
        # The listing is of what comes after a key: that of the checkpoint before.
        start = None if after is None else prefix + f"{max(0, after[0] - 1):0{_NUMBER_DIGITS}d}"
        given = 0
        for info in self._objects.list(prefix, start):
            number = int(info.key.removeprefix(prefix))
            if number > confirmed:
                return
            fields = self._read(info.key)
            for place, one in enumerate((fields or {}).get("outcomes", [])):
                if after is not None and (number, place) <= after:
                    continue
                yield number, place, Outcome(**one)
                given += 1
                if given == limit:
                    return

    def forget_reports(self, job: Job, number: int) -> None:
        """Remove what was reported after checkpoint ``number``, which no checkpoint has confirmed."""
        prefix = _report_prefix(job)
        for info in list(self._objects.list(prefix, prefix + f"{number:0{_NUMBER_DIGITS}d}")):
            self._objects.delete(info.key)

    def wants_to_stop(self, job: Job) -> bool:
        """Whether somebody cancelled it."""
        return exists(self._objects, _key(job, "cancel"))

    def cancel(self, job: Job) -> None:
        """Ask whoever runs it to stop."""
        self._objects.put(_key(job, "cancel"), b"")

    def allow(self, job: Job) -> None:
        """Let a job run again."""
        self._objects.delete(_key(job, "cancel"))
        self._objects.put(_pending_key(job.tenant, job.id), b"")

    def finish(self, job: Job) -> None:
        """There is nothing to do any more; after the state that says so."""
        self._objects.delete(_pending_key(job.tenant, job.id))

    def pending(self) -> Iterator[tuple[str, str]]:
        """Tenant and id of all jobs that have something to do."""
        for info in self._objects.list("ingest-pending/"):
            _, tenant, job_id = info.key.split("/")
            yield tenant, job_id

    def forget(self, job: Job) -> None:
        """Remove everything of a job; its record last, by which a crash's leftovers are found."""
        prefix = f"ingest/{job.tenant}/{job.id}."
        for folder in (
            _pending_key(job.tenant, job.id),
            f"ingest-leases/{job.tenant}/{job.id}/",
            _report_prefix(job),
        ):
            for info in self._objects.list(folder):
                self._objects.delete(info.key)
        keys = [info.key for info in self._objects.list(prefix)]
        for key in sorted(keys, key=lambda key: key.endswith(".json")):
            self._objects.delete(key)

    def ended_before(self, seconds: float) -> Iterator[Job]:
        """Jobs of all tenants that ended before a time."""
        for info in self._objects.list("ingest/"):
            if not info.key.endswith(".json") or info.modified_at_seconds > seconds:
                continue
            _, tenant, name = info.key.split("/")
            try:
                job = self.get(tenant, name.removesuffix(".json"))
                state = self.state(job)
            except (IngestJobNotFound, CorruptObject):
                continue
            if state.ended_at_seconds is not None and state.ended_at_seconds < seconds:
                yield job

    def _read(self, key: str) -> dict[str, Any] | None:
        try:
            fields = from_checked_json(key, self._objects.get(key))
        except ObjectNotFound:
            return None
        if fields is None:
            raise _damaged()
        return fields


def item_line(fields: dict[str, Any]) -> bytes:
    """One item of a list as it is stored."""
    return (
        json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
    )


def _key(job: Job, name: str) -> str:
    return f"ingest/{job.tenant}/{job.id}.{name}"


def _pending_key(tenant: str, job_id: str) -> str:
    return f"ingest-pending/{tenant}/{job_id}"


def _report_prefix(job: Job) -> str:
    return f"ingest-reports/{job.tenant}/{job.id}/"


def _not_found() -> IngestJobNotFound:
    return IngestJobNotFound("No ingest job with this id was found.")


def _damaged() -> CorruptObject:
    return CorruptObject("The stored record of this ingest job is damaged. Begin a new one.")
