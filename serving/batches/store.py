"""Batches as objects in the object store: what one gateway knows of a batch, every other one can read.

Objects of one batch:

- ``batches/<tenant>/records/<batch id>.json``: what was asked for, written once.
- ``batches/<tenant>/log/<batch id>/<number>``: how far it is, entry by entry, newest first in order.
- ``batches/<tenant>/answers/<batch id>/<nonce>``: answers, named by the entry that counts them.
- ``batches/<tenant>/cancel/<batch id>``: somebody wants it to stop, and since when.
- ``batch-pending/<tenant>/<batch id>``: empty; there is something to do. Removed after the end is durable.
- ``batch-leases/<tenant>/<batch id>/<epoch>``: see ``serving.ingest.leases``.

The log is what makes every request's answer count once. An entry is written by ``put_if_absent``, so of two
gateways that both believe to hold a batch (a paused machine, a clock that is off) one is told at its next entry
that it has lost, and what it had answered since its last one counts for nothing. Answers lie in an object of their
own, written before the entry that names it: an answer may be large, and what writers race for must be small (see
``ObjectStore.copy_if_absent``).
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any, Final, Literal

from serving.batches.records import Batch, BatchState, state_fields, state_of
from serving.errors import BatchNotFound
from serving.newest_first import newest_first_id
from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import CorruptObject, ObjectNotFound
from storage.keys import check_tenant
from storage.objects import ObjectStore, exists

__all__ = ["LEASES_FOLDER", "BatchStore", "Wish"]

LEASES_FOLDER: Final = "batch-leases"
Wish = Literal["go on", "cancel", "forget"]

_LOG = logging.getLogger(__name__)
_ID = re.compile(r"batch_[0-9a-f]{32}")
_LAST_NUMBER = 10**9 - 1
_VERSION = 1


class BatchStore:
    """Batches over an ``ObjectStore``; everything blocks. Ids of other tenants, unknown and malformed ones raise
    ``BatchNotFound`` alike.
    """

    def __init__(self, objects: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._objects = objects
        self.clock = clock

    def new_id(self) -> str:
        """An id for a batch of now; those of later ones come before it in order."""
        return newest_first_id("batch_", self.clock())

    def create(self, batch: Batch) -> None:
        """Write a batch; from then on any gateway may run it."""
        check_tenant(batch.tenant)
        key = _record_key(batch.tenant, batch.id)
        self._objects.put(key, to_checked_json(key, {"record_version": _VERSION, **asdict(batch)}))
        self._objects.put(_pending_key(batch.tenant, batch.id), b"")

    def get(self, tenant: str, batch_id: str) -> Batch:
        """A batch."""
        check_tenant(tenant)
        fields = self._read(_record_key(tenant, batch_id)) if _ID.fullmatch(batch_id) else None
        if fields is None:
            raise _not_found()
        try:
            if fields.pop("record_version") != _VERSION:
                raise _damaged()
            return Batch(**fields)
        except (KeyError, TypeError) as error:
            raise _damaged() from error

    def newest_first(self, tenant: str, after: str | None) -> Iterator[Batch]:
        """A tenant's batches, newest first, from the one after ``after`` on; what is damaged is left out."""
        check_tenant(tenant)
        if after is not None and not _ID.fullmatch(after):
            raise _not_found()
        prefix = _record_key(tenant, "").removesuffix(".json")
        for info in self._objects.list(prefix, None if after is None else _record_key(tenant, after)):
            try:
                yield self.get(tenant, info.key.removeprefix(prefix).removesuffix(".json"))
            except BatchNotFound:  # forgotten since it was listed
                continue
            except CorruptObject:
                _LOG.exception("The record %s is damaged; the batch is left out of lists.", info.key)

    def state(self, batch: Batch) -> BatchState:
        """The newest entry of its log."""
        newest = next(self._objects.list(_log_prefix(batch)), None)
        return BatchState() if newest is None else self._entry(newest.key)

    def append(self, batch: Batch, state: BatchState) -> BatchState | None:
        """Write the entry after ``state``'s number, and return it as written; ``None`` when another gateway has
        written one: whoever is told so has lost the batch.
        """
        entry = replace(state, number=state.number + 1)
        key = f"{_log_prefix(batch)}{_LAST_NUMBER - entry.number:09d}"
        fields = {"record_version": _VERSION, **state_fields(entry)}
        return entry if self._objects.put_if_absent(key, to_checked_json(key, fields)) else None

    def put_answers(self, batch: Batch, answers: bytes) -> tuple[str, str]:
        """Write answers, which count when an entry names them: their name and hash."""
        name = secrets.token_hex(16)
        self._objects.put(_answers_prefix(batch) + name, answers)
        return name, hashlib.sha256(answers).hexdigest()

    def answers(self, batch: Batch) -> Iterator[bytes]:
        """All answers that count, piece by piece, in the order they were kept in. Raises ``CorruptObject``."""
        for info in reversed(list(self._objects.list(_log_prefix(batch)))):
            entry = self._entry(info.key)
            if entry.answers is None:
                continue
            try:
                found = self._objects.get(_answers_prefix(batch) + entry.answers)
            except ObjectNotFound as error:
                raise _damaged() from error
            if hashlib.sha256(found).hexdigest() != entry.answers_sha256:
                raise _damaged()
            yield found

    def wish(self, batch: Batch) -> Wish:
        """What is to become of a batch that runs: it was cancelled, or is not there any more."""
        if not exists(self._objects, _record_key(batch.tenant, batch.id)):
            return "forget"
        return "go on" if self.cancelled_at(batch) is None else "cancel"

    def cancelled_at(self, batch: Batch) -> float | None:
        """When somebody cancelled it, in seconds since the epoch."""
        fields = self._read(_cancel_key(batch))
        return None if fields is None else float(fields["at_seconds"])

    def cancel(self, batch: Batch) -> None:
        """Ask whoever runs it to stop. The first time counts."""
        key = _cancel_key(batch)
        self._objects.put_if_absent(key, to_checked_json(key, {"at_seconds": self.clock()}))

    def finish(self, batch: Batch) -> None:
        """There is nothing to do any more, after the entry that says so; answers are in the files now."""
        for info in list(self._objects.list(_answers_prefix(batch))):
            self._objects.delete(info.key)
        self._objects.delete(_pending_key(batch.tenant, batch.id))

    def unfinished(self, tenant: str | None = None) -> Iterator[tuple[str, str]]:
        """Tenant and id of batches that have something to do, of one tenant or of all; newest first for one."""
        for info in self._objects.list("batch-pending/" if tenant is None else _pending_key(tenant, "")):
            _, owner, batch_id = info.key.split("/")
            yield owner, batch_id

    def forget(self, tenant: str, batch_id: str) -> None:
        """Remove everything of a batch; its record first, so that nobody goes on with it, and what says that there
        is something to do last, so that somebody does.
        """
        self._objects.delete(_record_key(tenant, batch_id))
        folders = (f"batches/{tenant}/{part}/{batch_id}" for part in ("log", "answers", "cancel"))
        for prefix in (*folders, f"{LEASES_FOLDER}/{tenant}/{batch_id}/"):
            for info in list(self._objects.list(prefix)):
                self._objects.delete(info.key)
        self._objects.delete(_pending_key(tenant, batch_id))

    def ids_of(self, tenant: str) -> set[str]:
        """Ids of all of which anything is left."""
        check_tenant(tenant)
        found = {batch_id for _, batch_id in self.unfinished(tenant)}
        for prefix in (f"batches/{tenant}/", f"{LEASES_FOLDER}/{tenant}/"):
            keys = (info.key for info in self._objects.list(prefix))
            found.update(match[0] for key in keys if (match := _ID.search(key.removeprefix(prefix))))
        return found

    def ended_before(self, seconds: float) -> Iterator[Batch]:
        """Batches of all tenants that ended before a time, or should have: who made one may have died before it
        said that there is something to do.
        """
        for info in self._objects.list("batches/"):
            parts = info.key.split("/")
            if parts[2] != "records" or info.modified_at_seconds > seconds:
                continue
            try:
                batch = self.get(parts[1], parts[3].removesuffix(".json"))
                ended_at = self.state(batch).ended_at_seconds
            except (BatchNotFound, CorruptObject):
                continue
            if (batch.expires_at_seconds if ended_at is None else ended_at) < seconds:
                yield batch

    def _entry(self, key: str) -> BatchState:
        fields = self._read(key)
        try:
            if fields is None or fields.pop("record_version") != _VERSION:
                raise _damaged()
            return state_of(fields)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged() from error

    def _read(self, key: str) -> dict[str, Any] | None:
        try:
            fields = from_checked_json(key, self._objects.get(key))
        except ObjectNotFound:
            return None
        if fields is None:
            raise _damaged()
        return fields


def _record_key(tenant: str, batch_id: str) -> str:
    return f"batches/{tenant}/records/{batch_id}.json"


def _log_prefix(batch: Batch) -> str:
    return f"batches/{batch.tenant}/log/{batch.id}/"


def _answers_prefix(batch: Batch) -> str:
    return f"batches/{batch.tenant}/answers/{batch.id}/"


def _cancel_key(batch: Batch) -> str:
    return f"batches/{batch.tenant}/cancel/{batch.id}"


def _pending_key(tenant: str, batch_id: str) -> str:
    return f"batch-pending/{tenant}/{batch_id}"


def _not_found() -> BatchNotFound:
    return BatchNotFound("No batch with this id was found.")


def _damaged() -> CorruptObject:
    return CorruptObject("The stored record of this batch is damaged. Create the batch anew.")
