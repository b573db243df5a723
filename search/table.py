"""The durable rows of one collection: a Lance table.

Seen on pylance 14.0.2 (tests hold these facts):

- A write is one ``Update`` commit: new fragments, and deletions in the fragments that held the documents before.
  It takes 3 ms where ``merge_insert``, which joins with the whole table, takes 100 at 200,000 rows.
- Two such commits that name a common fragment conflict, whatever they did to it. Every write names the *anchor*,
  the table's first fragment, which holds one row that is no document. So of two racing writers one always has to
  look again, and two that bring the same new document do not both insert it.
- Row addresses (fragment id << 32 | offset) never change until compaction, which gives rows new fragments;
  deletions within a fragment only grow; fragment ids are never used again. So the difference between two versions
  is read off the fragment list: new fragments, gone fragments, fragments with more deletions.
- ``Overwrite`` without retries is conditional on the version that was read. It makes tables, drops them (leaving an
  empty one without identity) and makes them anew; versions go on counting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from search.columns import TableIdentity, new_identity, read_identity, table_schema, vector_column
from search.commits import Commits
from search.errors import DimensionMismatch
from search.lance_errors import CommitConflictError, held, translated
from search.lance_tables import anchor_fragment, gone, in_use, membership, open_dataset, overwrite
from search.location import TableLocation
from search.maintenance import (
    OldVersions,
    compact_small_fragments,
    ensure_indexes,
    remove_all_old_versions,
    remove_old_versions,
    rewrite_deleted,
    update_indexes,
)
from search.table_state import FragmentState, TableState
from search.types import CollectionSpec

__all__ = [
    "FragmentState",
    "RowTable",
    "TableState",
    "new_session",
    "table_schema",
    "vector_column",
]

_SESSION_BYTES = 64 << 20
_CONDITIONAL_SECONDS = 60.0  # of trying against other creators and writers


class RowTable:
    """One collection's rows. Threads share one object; any number of processes may share the table.

    Every write is one atomic commit, so a reader sees all of it or nothing, and a write that returned survives the
    death of any process. Every method raises ``CollectionNotFound`` once the collection was dropped, also when
    another one was made under its name: that has another ``uid``.
    """

    def __init__(
        self,
        place: TableLocation,
        dataset: lance.LanceDataset,
        session: lance.Session,
        identity: TableIdentity,
    ) -> None:
        if identity.uid is None or identity.spec is None:
            raise gone(place.name)
        self.tenant = place.tenant
        self.name = place.name
        self.uid: str = identity.uid
        self.spec: CollectionSpec = identity.spec
        self.created_at_seconds = identity.created_at_seconds
        self._place = place
        self._session = session
        self._commits = Commits(dataset, self.name, self.uid)
        self._old_versions = OldVersions()
        self._reader = dataset.checkout_version(dataset.version)
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()

    @property
    def dimensions(self) -> int:
        """Of the vectors in the first space."""
        return self.spec.spaces[0].dimensions

    @classmethod
    def open(cls, place: TableLocation, session: lance.Session) -> RowTable | None:
        """The table at ``place``, or ``None`` if there is none (one dropped, or cut short by a crash, is none)."""
        return cls._of(place, open_dataset(place, session), session)

    @classmethod
    def _of(
        cls, place: TableLocation, dataset: lance.LanceDataset | None, session: lance.Session
    ) -> RowTable | None:
        if dataset is None:
            return None
        identity = read_identity(dataset.schema.metadata)
        if identity.uid is None:
            return None
        with translated("read"):
            ensure_indexes(dataset)
        return cls(place, dataset, session, identity)

    @classmethod
    def create(
        cls,
        place: TableLocation,
        spec: CollectionSpec,
        session: lance.Session,
        created_at_seconds: float = 0.0,
    ) -> RowTable:
        """The table at ``place``, made empty if there is none. Racing creators get the same table, whose ``spec``
        is that of who was first.

        Not ``write_dataset(mode="create")``: seen to succeed for two racing callers, the second replacing the
        first one's table and whatever was added to it.
        """
        deadline = time.monotonic() + _CONDITIONAL_SECONDS
        while True:
            dataset = open_dataset(place, session)
            table = cls._of(place, dataset, session)
            if table is not None:
                return table
            with translated("written"):
                place.prepare()
                schema = table_schema(spec, new_identity(spec, created_at_seconds))
                version = 0 if dataset is None else int(dataset.version)
                try:
                    overwrite(place, version, schema, anchor_fragment(place, version, spec, schema))
                except (OSError, CommitConflictError):  # normally: somebody else was quicker
                    if time.monotonic() > deadline or (dataset is None and not place.exists()):
                        raise

    def replace(self, rows: pa.Table, document_ids: Sequence[str], deleted_ids: Sequence[str] = ()) -> int:
        """Put ``rows`` (``table_schema``) in place of everything stored under ``document_ids``, and remove the
        documents ``deleted_ids``, in one commit.

        Every row's document must be in ``document_ids``, and rows of a document count their ``ordinal`` from 0.
        Returns a version that holds the rows.
        """
        width = rows.schema.field("vector").type.list_size
        if width != self.dimensions:
            raise DimensionMismatch(
                f"This collection's vectors have {self.dimensions} dimensions, not {width}."
            )
        leaving = [*document_ids, *deleted_ids]
        with held(self._write_lock), self._using("written"):
            version = self._commits.write(
                rows if len(rows) else None, lambda: self._commits.addresses("document_id", leaving)
            )
            self._commits.compact()
        return version

    def delete(self, *document_ids: str) -> int:
        """Remove documents and return a version without them. Missing documents make no new version."""
        with held(self._write_lock), self._using("written"):
            return self._commits.write(None, lambda: self._commits.addresses("document_id", document_ids))

    def delete_media(self, media_ids: Sequence[str]) -> int:
        """Remove all rows made of some media, in one commit; returns how many documents they belonged to."""
        documents = 0

        def find() -> NDArray[np.uint64]:
            nonlocal documents
            found = self._commits.dataset.scanner(
                columns=["document_id"], filter=membership("media_id", media_ids), with_row_address=True
            ).to_table()
            documents = len(found.column("document_id").unique())
            addresses: NDArray[np.uint64] = found.column("_rowaddr").to_numpy()
            return addresses

        with held(self._write_lock), self._using("written"):
            self._commits.write(None, find)
        return documents

    def pause_writes(self, until_seconds: float) -> None:
        """Refuse everybody's writes with ``WritesPaused`` until that time (since the epoch) or ``resume_writes``;
        none is under way any more when this returns. Dropping is not refused.

        A pause that its process does not live to end is over by itself. So machines' clocks must agree to within
        the time that is left when the last write has to have been refused.
        """
        with held(self._write_lock), self._using("written"):
            self._commits.pause(until_seconds)

    def resume_writes(self) -> None:
        """End the pause."""
        with held(self._write_lock), self._using("written"):
            self._commits.resume()

    def drop(self) -> bool:
        """Remove the collection and its rows, in one commit; whether that was done by this call."""
        with held(self._write_lock), self._using("written"):
            deadline = time.monotonic() + _CONDITIONAL_SECONDS
            while True:
                self._commits.dataset.checkout_latest()
                if not self._commits.is_mine():
                    return False
                schema = table_schema(self.spec, TableIdentity(None, None, self.created_at_seconds))
                try:
                    overwrite(self._place, self._commits.dataset.version, schema, [])
                    break
                except CommitConflictError:
                    if time.monotonic() > deadline:
                        raise
            remove_all_old_versions(open_dataset(self._place, self._session))
        return True

    def maintain(self) -> None:
        """Merge small fragments in tiers, bring the indexes up to date, drop old versions.

        Does not hold up writers: they go on committing meanwhile. What conflicts is left for the next time.
        """
        with self._using("written"):
            dataset = self._fresh()
            compact_small_fragments(dataset, all_tiers=True)
            update_indexes(dataset)
            self._old_versions.remove_if_due(dataset)

    def vacuum(self) -> int:
        """Write fragments with deleted rows anew without them, and drop versions that held them; returns how many
        bytes went. Versions of the last ten minutes stay, for who reads them: what they hold goes the next time.
        """
        with self._using("written"):
            dataset = self._fresh()
            rewrite_deleted(dataset)
            update_indexes(dataset)
            return remove_old_versions(dataset)

    def media_ids(self) -> frozenset[str]:
        """Every medium that rows of the newest version were made of."""
        found: set[str] = set()
        dataset = self.state()._dataset
        with self._using("read"):
            for batch in dataset.to_batches(columns=["media_id"], filter="media_id IS NOT NULL"):
                found.update(batch.column("media_id").unique().to_pylist())
        return frozenset(found)

    def latest_version(self) -> int:
        """The newest committed version (well under a millisecond on local files)."""
        with held(self._read_lock), self._using("read"):
            return int(self._reader.latest_version)

    def state(self) -> TableState:
        """The newest version, pinned for reading. The anchor is not among its fragments."""
        with held(self._read_lock), self._using("read"):
            self._reader.checkout_latest()
            if not self._is_mine(self._reader):
                raise gone(self.name)
            version = int(self._reader.version)
            dataset = self._reader.checkout_version(version)
            fragments = tuple(
                FragmentState(fragment.fragment_id, fragment.num_deletions)
                for fragment in dataset.get_fragments()[1:]
            )
        return TableState(version, fragments, self.name, self.uid, dataset)

    def _fresh(self) -> lance.LanceDataset:
        """The newest version for work that must not wait for writers, nor they for it."""
        with held(self._read_lock):
            self._reader.checkout_latest()
            if not self._is_mine(self._reader):
                raise gone(self.name)
            return self._reader.checkout_version(self._reader.version)

    def _using(self, what: str) -> AbstractContextManager[None]:
        return in_use(self._reader, self.name, self.uid, what)

    def _is_mine(self, dataset: lance.LanceDataset) -> bool:
        return read_identity(dataset.schema.metadata).uid == self.uid


def new_session() -> lance.Session:
    """Lance's caches for all tables of an engine, bounded: its own defaults allow several gigabytes."""
    return lance.Session(index_cache_size_bytes=_SESSION_BYTES, metadata_cache_size_bytes=_SESSION_BYTES)
