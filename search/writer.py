"""Writes of one process to one table, grouped: what queues up while a commit is under way goes into the next one.

Flat combining (Hendler, Incze, Shavit and Tzafrir 2010, "Flat combining and the synchronization-parallelism
tradeoff"): there is no writer thread and no timer. Whoever finds nobody committing commits at once, so a single
write waits for nothing; the others queue up and one of them commits for all. Grouping is for speed only: any
number of processes may write, each commit is safe by itself.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from search.errors import CollectionNotFound, SearchError, SearchUnavailable
from search.table import RowTable, table_schema

__all__ = ["GroupedWriter"]

_LOG = logging.getLogger(__name__)
_MAX_WAITING_WRITES = 1024
_MAX_WAITING_BYTES = 512 << 20
_GROUP_BYTES = 64 << 20  # of one commit, but for a single write that is larger
_GROUP_WRITES = 256
_WAIT_SECONDS = 60.0  # for one's turn
_OUTCOME_SECONDS = 150.0  # for the commit that one's write is in: it has a time limit of its own


@dataclass(slots=True, eq=False)
class _Write:
    """What one caller wants: rows in place of some documents, and documents removed."""

    rows: pa.Table | None
    replaced: Sequence[str]
    deleted: Sequence[str]
    bytes: int
    wake: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    version: int | None = None
    error: SearchError | None = None


class GroupedWriter:
    """Threads share it. Rows must have been validated: one caller's bad rows would fail the others."""

    def __init__(self, table: RowTable) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._queue: deque[_Write] = deque()
        self._waiting_bytes = 0
        self._busy = False

    def replace(self, rows: pa.Table, document_ids: Sequence[str]) -> int:
        """See ``RowTable.replace``. Raises ``SearchUnavailable`` when too much is waiting already."""
        return self._submit(_Write(rows, document_ids, (), rows.nbytes))

    def delete(self, document_ids: Sequence[str]) -> int:
        """See ``RowTable.delete``."""
        return self._submit(_Write(None, (), document_ids, 0))

    def _submit(self, write: _Write) -> int:
        with self._lock:
            room_bytes = _MAX_WAITING_BYTES - self._waiting_bytes
            if self._queue and (len(self._queue) >= _MAX_WAITING_WRITES or write.bytes > room_bytes):
                raise SearchUnavailable("The collection has too much to write right now. Try again shortly.")
            self._queue.append(write)
            self._waiting_bytes += write.bytes
            write.leads = not self._busy
            self._busy = True
        if write.leads or self._leads_after_waiting(write):
            self._lead()
        if write.error is not None:
            raise type(write.error)(write.error.message) from write.error
        if write.version is None:
            raise SearchUnavailable(
                "The collection took too long to write; what was to be written may have been. Try again shortly."
            )
        return write.version

    def _leads_after_waiting(self, write: _Write) -> bool:
        """Wait until somebody has committed the write, or it is its caller's turn to commit."""
        if write.wake.wait(_WAIT_SECONDS):
            return write.leads
        with self._lock:
            if write.leads:
                return True
            if write in self._queue:
                self._queue.remove(write)
                self._waiting_bytes -= write.bytes
                raise SearchUnavailable("The collection is busy. Try again shortly.")
        write.wake.wait(_OUTCOME_SECONDS)
        return write.leads

    def _lead(self) -> None:
        """Commit what is waiting, oneself first, and pass the lead on."""
        group = self._take_group()
        try:
            self._commit(group)
        finally:
            with self._lock:
                if self._queue:
                    self._queue[0].leads = True
                    self._queue[0].wake.set()
                else:
                    self._busy = False
            for write in group:
                write.wake.set()

    def _take_group(self) -> list[_Write]:
        group: list[_Write] = []
        with self._lock:
            room = _GROUP_BYTES
            while self._queue and len(group) < _GROUP_WRITES and (not group or self._queue[0].bytes <= room):
                write = self._queue.popleft()
                group.append(write)
                room -= write.bytes
                self._waiting_bytes -= write.bytes
        return group

    def _commit(self, group: list[_Write]) -> None:
        try:
            version = self._commit_together(group)
        except SearchError as error:
            if len(group) > 1 and not isinstance(error, CollectionNotFound | SearchUnavailable):
                for write in group:  # one of them only is to blame
                    self._commit([write])
                return
            for write in group:
                write.error = error
        except Exception as error:  # the others must not wait for a leader who is gone
            _LOG.exception("A group of writes failed.")
            for write in group:
                write.error = SearchUnavailable(
                    "The collection could not be written right now. Try again later."
                )
                write.error.__cause__ = error
        else:
            for write in group:
                write.version = version

    def _commit_together(self, group: list[_Write]) -> int:
        """One commit with the effect of all writes in their order: of each document, the last word."""
        last: dict[str, _Write | None] = {}
        for write in group:
            last.update(dict.fromkeys(write.replaced, write))
            last.update(dict.fromkeys(write.deleted, None))
        kept = [rows for write in group if (rows := _still_wanted(write, last)) is not None]
        replaced = [document_id for document_id, write in last.items() if write is not None]
        deleted = [document_id for document_id, write in last.items() if write is None]
        rows = pa.concat_tables(kept) if kept else table_schema(self._table.spec).empty_table()
        return self._table.replace(rows, replaced, deleted)


def _still_wanted(write: _Write, last: dict[str, _Write | None]) -> pa.Table | None:
    """The rows of a write whose documents no later one of the group replaced or removed."""
    if write.rows is None:
        return None
    wanted = {document_id for document_id in write.replaced if last[document_id] is write}
    if len(wanted) == len(set(write.replaced)):
        return write.rows
    return write.rows.filter(_is_one_of(write.rows.column("document_id").to_pylist(), wanted))


def _is_one_of(values: Iterable[str], wanted: set[str]) -> pa.Array:
    return pa.array([value in wanted for value in values], pa.bool_())
