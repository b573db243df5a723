"""One tenant's collection as a reader sees it: the snapshot that searches are answered from."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.builder import Builder
from search.columns import vector_column
from search.config import SearchConfig
from search.errors import CorruptSegment, InvalidQuery, SearchUnavailable
from search.filters import Condition
from search.freshness import Freshness
from search.grouping import answered
from search.lineage import descends
from search.metadata import check_condition
from search.query_checks import check_query
from search.rows import unit_vector
from search.sealing import fits, opened_segment, sealed_segment
from search.segment import Part, Segment
from search.segment_files import SegmentFiles
from search.segment_record import Origin, SegmentRecord
from search.snapshot import Snapshot
from search.stored_documents import (
    document_means,
    find_contents,
    find_documents,
    find_kinds,
    sampled_means,
    scrolled,
)
from search.table import RowTable, TableState
from search.types import DEFAULT_SPACE, Query, SearchAnswer, StoredDocument, Vector
from storage.objects import ObjectStore

__all__ = ["Collection", "missing_version"]

_LOG = logging.getLogger(__name__)
_LOAD_WAIT_SECONDS = 60.0
_RECENT_QUERIES = 64
_FIRST_FRAGMENTS = 8  # the oldest, which may be large, and then twice as many each time
_MAX_FAILURES = 4


class Collection:
    """Thread-safe. Searches run on an immutable snapshot; refreshing makes a new one and swaps the reference.

    Every method that reads sees at least every commit that happened before the call, but for refreshes that another
    thread is busy with. ``objects`` keeps saved segments, ``cache_folder`` this machine's copies of them.
    """

    def __init__(
        self, table: RowTable, settings: SearchConfig, objects: ObjectStore, cache_folder: Path
    ) -> None:
        self._table = table
        self._settings = settings
        self._refresh_lock = threading.Lock()
        self._snapshot = Snapshot()
        self._building: frozenset[Segment] = frozenset()
        folder = settings.root / table.tenant / f"{table.name}.lance"
        self._freshness = Freshness(folder if settings.s3 is None else None)
        self._files = SegmentFiles(objects, cache_folder, table.tenant, table.uid)
        self._builder = Builder(self._build_one)
        self._dimensions = {space.name: space.dimensions for space in table.spec.spaces}
        self._queries: dict[str, deque[Vector]] = {
            space.name: deque(maxlen=_RECENT_QUERIES) for space in table.spec.spaces
        }

    @property
    def snapshot(self) -> Snapshot:
        """What searches are answered from at the moment."""
        return self._snapshot

    def search(self, query: Query) -> SearchAnswer:
        """The best documents. ``query.min_version``, if given, is always waited for. Raises ``InvalidQuery``, also
        for a version that was never committed, and ``DimensionMismatch``.
        """
        check_query(query)
        space = self._space(query.space)
        vector = None
        if query.vector is not None:
            vector = unit_vector(query.vector, self._dimensions[space])
            self._queries[space].append(vector)
        return answered(self._current(query.min_version), vector, query, space)

    def documents(self, document_ids: Sequence[str]) -> tuple[StoredDocument, ...]:
        """Stored documents with their vectors, in the order of the ids; missing ones are left out."""
        return find_documents(self._current(), self._table.spec, document_ids)

    def scroll(self, after: str | None, limit: int, where: Condition | None) -> tuple[StoredDocument, ...]:
        """At most ``limit`` documents of which a row satisfies ``where``, in order of id, from the one after
        ``after`` on.
        """
        if limit < 1:
            raise InvalidQuery("At least one document must be asked for.")
        if where is not None:
            check_condition(where)
        return scrolled(self._current(), self._table.spec, after, limit, where)

    def known_contents(self, content_hashes: Sequence[str]) -> dict[str, str]:
        """Which of some contents are indexed, and the id of a document of each (the first in order)."""
        return find_contents(self._current(), content_hashes)

    def document_vectors(self, where: Condition | None) -> tuple[list[str], NDArray[np.float32]]:
        """Ids, in order, and of each document the mean of its rows' vectors (those that satisfy ``where``) in the
        first space, float32 ``(documents, dimensions)`` with L2 norm 1.
        """
        if where is not None:
            check_condition(where)
        return document_means(self._current(), self._table.spec, where)

    def sampled_vectors(
        self, where: Condition | None, most: int
    ) -> tuple[int, list[str], NDArray[np.float32]]:
        """How many documents there are, and ``document_vectors`` of at most ``most`` of them: of more, every so
        many-th in order of id. No vector of another document is read.
        """
        if where is not None:
            check_condition(where)
        return sampled_means(self._current(), self._table.spec, where, most)

    def kinds(self, document_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """Modality and medium of stored documents, by id; missing ones are left out. No vector is read."""
        return find_kinds(self._current(), document_ids)

    def counts(self) -> tuple[int, int, dict[str, int]]:
        """Rows, documents, and documents by modality."""
        return self._current().count()

    def build_now(self) -> None:
        """Refresh, and do the background building that is due in this thread."""
        self._current()
        self._builder.run_now()

    def close(self) -> None:
        """End background work. Searches go on."""
        self._builder.close()

    def _space(self, name: str) -> str:
        if name not in self._dimensions:
            if name == DEFAULT_SPACE:
                return self._table.spec.spaces[0].name
            vector_column(self._table.spec, name)  # refuses it
        return name

    def _current(self, min_version: int | None = None) -> Snapshot:
        """The newest snapshot that can be had without waiting, or one of at least ``min_version``.

        Adding and deleting return after their commit, so a version that cannot be read now was never given
        out: nothing is waited for but a refresh that another thread is busy with.
        """
        snapshot = self._snapshot
        version = snapshot.version
        if version and (min_version is None or min_version <= version) and self._freshness.unchanged():
            return snapshot
        if min_version is not None and version < min_version and self._table.latest_version() < min_version:
            raise missing_version(min_version)
        must_wait = version == 0 or (min_version is not None and version < min_version)
        if not self._refresh_lock.acquire(timeout=_LOAD_WAIT_SECONDS if must_wait else 0):
            if must_wait:
                raise SearchUnavailable("The collection is still being loaded. Try again shortly.")
            return self._snapshot
        try:
            looked = self._freshness.look()
            if self._table.latest_version() != self._snapshot.version:
                self._refresh()
            self._freshness.seen(looked)
            return self._snapshot
        finally:
            self._refresh_lock.release()

    def _refresh(self) -> None:
        """Show the newest version. What there is much of is read in steps, each of the version that is the newest
        then: the files of older ones are removed after some minutes, and reading everything may take longer.
        """
        shown = self._snapshot if self._snapshot.version else self._saved(self._table.state())
        fragments, failures = _FIRST_FRAGMENTS, 0
        while True:
            state = self._table.state()
            step = state.with_few_more(shown.deleted_rows, fragments)
            try:
                shown = shown.advanced(step, self._table.spec, self._settings.flat_rows, self._building)
            except SearchUnavailable:
                failures += 1
                if failures == _MAX_FAILURES or self._table.latest_version() == state.version:
                    raise  # not because that version is gone
                fragments = _FIRST_FRAGMENTS
                continue
            if len(step.fragments) == len(state.fragments):
                break
            fragments *= 2
        self._snapshot = shown
        if due_parts(self._snapshot, self._settings.flat_rows):
            self._builder.wake()

    def _saved(self, state: TableState) -> Snapshot:
        """What the newest saved segments show of the table; a damaged one is left out and read from the table."""
        try:
            records = self._files.records()
        except SearchUnavailable as error:
            _LOG.warning("Saved search segments cannot be read now: %s", error)
            return Snapshot()
        now = {fragment.id for fragment in state.fragments}
        parts: list[Part] = []
        fragments: dict[int, int] = {}
        for record in records:
            if not now & record.fragments.keys() or fragments.keys() & record.fragments.keys():
                continue
            segment = self._loaded(record)
            if segment is not None and descends(state, record, segment):
                parts.append(Part(segment, None))
                fragments.update(record.fragments)
        return Snapshot(deleted_rows=fragments, parts=tuple(parts))

    def _loaded(self, record: SegmentRecord) -> Segment | None:
        spec = self._table.spec
        if not fits(record, spec, self._settings):
            return None
        try:
            return opened_segment(record, spec, self._files)
        except (CorruptSegment, SearchUnavailable) as error:
            _LOG.warning("A saved search segment is not used, and built again when it is due: %s", error)
            return None

    def _build_one(self, background: bool) -> bool:
        """Build the segment that is due, swap it in and save it. Whether there was one."""
        spec, settings = self._table.spec, self._settings
        with self._refreshing():
            before = self._snapshot
            parts = due_parts(before, settings.flat_rows)
            if not parts:
                return False
            self._building = frozenset(part.segment for part in parts)
        try:
            fragments = {
                fragment: before.deleted_rows[fragment]
                for part in parts
                for fragment in part.segment.fragments & before.deleted_rows.keys()
            }
            origins = {} if before.state is None else before.state.origins(fragments)
            segment = self._built_elsewhere(fragments, origins) or sealed_segment(
                parts,
                fragments,
                origins,
                spec,
                settings,
                self._files,
                {name: tuple(recent) for name, recent in self._queries.items()},
                max(1, settings.threads // 2) if background else settings.threads,
                self._builder.going_on,
            )
            with self._refreshing():
                self._snapshot = self._snapshot.replaced(self._building, segment)
                self._building = frozenset()
        finally:
            self._building = frozenset()
        records = [one.record for one in self._snapshot.segments if one.record is not None]
        try:
            self._files.save(records)
        except SearchUnavailable as error:
            _LOG.warning("A search segment was not saved; another process builds it again: %s", error)
        return True

    def _built_elsewhere(self, fragments: Mapping[int, int], origins: Mapping[int, Origin]) -> Segment | None:
        """The segment of just these rows that another process has saved meanwhile."""
        try:
            records = self._files.records()
        except SearchUnavailable:
            return None
        for record in records:
            if record.fragments == fragments and record.origins == origins:
                return self._loaded(record)
        return None

    @contextmanager
    def _refreshing(self) -> Iterator[None]:
        if not self._refresh_lock.acquire(timeout=_LOAD_WAIT_SECONDS):
            raise SearchUnavailable("The collection is still being loaded. Try again shortly.")
        try:
            yield
        finally:
            self._refresh_lock.release()


def due_parts(snapshot: Snapshot, flat_rows: int) -> tuple[Part, ...]:
    """What should become one segment with an index: all that is in memory once it has ``flat_rows`` rows, with the
    saved segments that are less than twice as large; else a saved one that is mostly dead.

    So there are few saved segments, and each row is built into a logarithmic number of them.
    """
    saved = sorted((part for part in snapshot.parts if part.segment.is_indexed), key=len)
    chosen = [part for part in snapshot.parts if not part.segment.is_indexed]
    total = sum(map(len, chosen))
    if total < flat_rows:
        return next(((part,) for part in saved if 2 * len(part) < len(part.segment)), ())
    for part in saved:
        if len(part) < 2 * total:
            chosen.append(part)
            total += len(part)
    return tuple(chosen)


def missing_version(version: int) -> InvalidQuery:
    """The error for a ``min_version`` that does not exist."""
    return InvalidQuery(
        f"The collection has no version {version}. Use the version that adding or deleting returned."
    )
