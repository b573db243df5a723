"""The durable rows of one collection: a Lance table.

Seen on pylance 14.0.2 (tests hold these facts): ``merge_insert`` replaces whole documents in one commit, and
``(document_id, ordinal)`` declared as unenforced primary key makes two racing writers of one new document
conflict and retry instead of both inserting it. Row addresses (fragment id << 32 | offset) never change until
compaction, which gives rows new fragments; deletions within a fragment only grow. So the difference between
two versions is read off the fragment list: new fragments, gone fragments, fragments with more deletions.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from search.errors import DimensionMismatch, SearchError, SearchUnavailable

__all__ = ["FragmentState", "RowTable", "TableState", "new_session", "table_schema"]

_LOG = logging.getLogger(__name__)
_SESSION_BYTES = 64 << 20
_PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}
_MAX_SMALL_FRAGMENTS = 32
_FRAGMENT_TIERS_ROWS = (1024, 16 * 1024, 256 * 1024)
_LOCK_WAIT_SECONDS = 60.0
_KEEP_VERSIONS = timedelta(hours=1)  # longer than any refresh reads one version


@dataclass(frozen=True, slots=True)
class FragmentState:
    """A fragment of the table at one version: its id and how many of its rows are deleted."""

    id: int
    deleted_rows: int


@dataclass(frozen=True, slots=True)
class TableState:
    """The table at one version, pinned: reads give that version whatever is committed meanwhile."""

    version: int
    fragments: tuple[FragmentState, ...]
    _dataset: lance.LanceDataset

    def read(self, fragment_ids: Iterable[int]) -> pa.Table:
        """Live rows of some fragments, all columns and ``_rowaddr`` (uint64), in order of address."""
        return self._scan(fragment_ids, None)

    def live_addresses(self, fragment_ids: Iterable[int]) -> NDArray[np.uint64]:
        """Addresses of the live rows of some fragments, rising."""
        table = self._scan(fragment_ids, [])
        addresses: NDArray[np.uint64] = table.column("_rowaddr").to_numpy()
        return addresses

    def _scan(self, fragment_ids: Iterable[int], columns: list[str] | None) -> pa.Table:
        wanted = set(fragment_ids)
        with _translated("read"):
            fragments = [f for f in self._dataset.get_fragments() if f.fragment_id in wanted]
            return self._dataset.scanner(
                columns=columns, fragments=fragments, with_row_address=True, scan_in_order=True
            ).to_table()


class RowTable:
    """One collection's rows on disk. Threads share one object; any number of processes may share the table.

    Every write is one atomic commit, so a reader sees all of it or nothing, and a write that returned
    survives the death of any process.
    """

    def __init__(self, dataset: lance.LanceDataset, session: lance.Session) -> None:
        self._uri = dataset.uri
        self._session = session
        self._writer = dataset
        self._reader = dataset.checkout_version(dataset.version)
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self.dimensions = int(dataset.schema.field("vector").type.list_size)

    @classmethod
    def open(cls, path: Path, session: lance.Session) -> RowTable | None:
        """The table at ``path``, or ``None`` if there is none (a creation cut short by a crash is none)."""
        versions = path / "_versions"
        if not versions.is_dir() or not any(versions.glob("*.manifest")):
            return None
        with _translated("read"):
            return cls(lance.dataset(str(path), session=session), session)

    @classmethod
    def create(cls, path: Path, dimensions: int, session: lance.Session) -> RowTable:
        """The table at ``path``, made empty if there is none. Racing creators get the same table.

        Not ``write_dataset(mode="create")``: seen to succeed for two racing callers, the second replacing the
        first one's table and whatever was added to it. A commit without retries is conditional on there being
        no version at all.
        """
        empty = lance.LanceOperation.Overwrite(table_schema(dimensions), [])
        with _translated("written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lance.LanceDataset.commit(str(path), empty, read_version=0, max_retries=0)
            except OSError:  # normally: there is one already
                table = cls.open(path, session)
                if table is None:
                    raise
                return table
        table = cls.open(path, session)
        if table is None:
            raise SearchUnavailable("The collection was removed while it was being made.")
        return table

    def replace(self, rows: pa.Table, document_ids: Sequence[str]) -> int:
        """Put ``rows`` (``table_schema``) in place of everything stored under ``document_ids``, in one
        commit.

        Every row's document must be in ``document_ids``, and rows of a document count their ``ordinal``
        from 0. Returns a version that holds the rows.
        """
        if rows.schema.field("vector").type.list_size != self.dimensions:
            raise DimensionMismatch(
                f"This collection's vectors have {self.dimensions} dimensions, "
                f"not {rows.schema.field('vector').type.list_size}."
            )
        with _held(self._write_lock), _translated("written"):
            # The newest state first: on a stale one a conflict is certain, and costs a second join.
            self._writer.checkout_latest()
            (
                self._writer.merge_insert(["document_id", "ordinal"])
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .when_not_matched_by_source_delete(f"document_id IN ({_literals(document_ids)})")
                .execute(rows)
            )
            version = int(self._writer.version)
            self._maintain()
        return version

    def delete(self, document_id: str) -> int:
        """Remove a document and return a version without it. A missing document makes no new version."""
        predicate = f"document_id IN ({_literals([document_id])})"
        with _held(self._write_lock), _translated("written"):
            self._writer.checkout_latest()
            if self._writer.count_rows(predicate):
                self._writer.delete(predicate)
            return int(self._writer.version)

    def delete_media(self, media_ids: Sequence[str]) -> int:
        """Remove all rows made of some media, in one commit; returns how many documents they belonged to."""
        predicate = f"media_id IN ({_literals(media_ids)})"
        with _held(self._write_lock), _translated("written"):
            self._writer.checkout_latest()
            found = self._writer.to_table(columns=["document_id"], filter=predicate)
            if len(found):
                self._writer.delete(predicate)
            return len(found.column("document_id").unique())

    def vacuum(self) -> int:
        """Write fragments with deleted rows anew without them, and drop versions that held them; returns how
        many bytes went. Versions of the last hour stay, for who reads them, so what they hold goes the next
        time.
        """
        with _held(self._write_lock), _translated("written"):
            self._writer.checkout_latest()
            if any(fragment.num_deletions for fragment in self._writer.get_fragments()):
                self._writer.optimize.compact_files(materialize_deletions_threshold=0.0)
            return int(self._writer.cleanup_old_versions(older_than=_KEEP_VERSIONS).bytes_removed)

    def media_ids(self) -> frozenset[str]:
        """Every medium that rows of the newest version were made of."""
        found: set[str] = set()
        dataset = self.state()._dataset
        with _translated("read"):
            for batch in dataset.to_batches(columns=["media_id"], filter="media_id IS NOT NULL"):
                found.update(batch.column("media_id").unique().to_pylist())
        return frozenset(found)

    def latest_version(self) -> int:
        """The newest committed version (well under a millisecond on local files)."""
        with _held(self._read_lock), _translated("read"):
            return int(self._reader.latest_version)

    def state(self) -> TableState:
        """The newest version, pinned for reading."""
        with _held(self._read_lock), _translated("read"):
            self._reader.checkout_latest()
            version = int(self._reader.version)
            dataset = self._reader.checkout_version(version)
            fragments = tuple(
                FragmentState(fragment.fragment_id, fragment.num_deletions)
                for fragment in dataset.get_fragments()
            )
        return TableState(version, fragments, dataset)

    def _maintain(self) -> None:
        """Merge small fragments and drop old versions once there are many; each add makes one of each.

        In tiers, so that a few new rows never cause a large fragment to be written again. Runs under the
        write lock, right after a commit. Losing a race against another writer is normal: the next add tries
        again.
        """
        sizes = [fragment.physical_rows for fragment in self._writer.get_fragments()]
        for floor_rows, tier_rows in pairwise((0, *_FRAGMENT_TIERS_ROWS)):
            if sum(floor_rows <= size < tier_rows for size in sizes) > _MAX_SMALL_FRAGMENTS:
                break
        else:
            return
        try:
            self._writer.optimize.compact_files(target_rows_per_fragment=tier_rows)
            self._writer.cleanup_old_versions(older_than=_KEEP_VERSIONS)
        except (OSError, RuntimeError, ValueError) as error:  # the rows themselves are committed already
            _LOG.info("A collection could not be compacted now: %s", error)


def new_session() -> lance.Session:
    """Lance's caches for all tables of an engine, bounded: its own defaults allow several gigabytes."""
    return lance.Session(index_cache_size_bytes=_SESSION_BYTES, metadata_cache_size_bytes=_SESSION_BYTES)


def table_schema(dimensions: int) -> pa.Schema:
    """Columns of a collection. ``ordinal`` counts a document's rows from 0 in the order they were given."""
    return pa.schema(
        [
            pa.field("document_id", pa.string(), nullable=False, metadata=_PRIMARY_KEY),
            pa.field("ordinal", pa.int32(), nullable=False, metadata=_PRIMARY_KEY),
            pa.field("tenant", pa.string(), nullable=False),
            pa.field("media_id", pa.string()),
            pa.field("part_index", pa.int32(), nullable=False),
            pa.field("modality", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("start_seconds", pa.float64()),
            pa.field("end_seconds", pa.float64()),
            pa.field("metadata", pa.string(), nullable=False),
            pa.field("created_at_seconds", pa.float64(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=False),
        ]
    )


def _literals(values: Iterable[str]) -> str:
    """SQL string literals: a quote is doubled, everything else stands for itself (no backslash escapes)."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


@contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock that is normally free within milliseconds; a disk that hangs must not hang every caller."""
    if not lock.acquire(timeout=_LOCK_WAIT_SECONDS):
        raise SearchUnavailable("The collection is busy. Try again shortly.")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn Lance's and the file system's errors into ours; their words carry paths and stay in the log."""
    try:
        yield
    except SearchError:
        raise
    except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
        _LOG.error("A collection could not be %s: %s", what, error)
        raise SearchUnavailable(f"The collection could not be {what} right now. Try again later.") from error
