"""Commits to a table against other writers: made of the newest version, until nobody came in between."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import lance
import numpy as np
import pyarrow as pa
from lance import LanceOperation
from lance.fragment import write_fragments
from numpy.typing import NDArray

from search.columns import read_identity
from search.errors import SearchUnavailable, WritesPaused
from search.lance_errors import FAILURES, CommitConflictError
from search.lance_tables import gone, membership
from search.maintenance import MAX_SMALL_FRAGMENTS, compact_small_fragments

__all__ = ["Commits"]

_PAUSED_UNTIL = "manymodal:paused_until_seconds"
_COMMIT_SECONDS = 60.0  # of trying against other writers
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.2


class Commits:
    """Of one process to one table, by one thread at a time. How they are made stands in ``search.table``.

    Raises Lance's errors as they are, and ours: ``CollectionNotFound`` when the table is not ``uid``'s any more.
    """

    def __init__(self, dataset: lance.LanceDataset, name: str, uid: str) -> None:
        self.dataset = dataset
        self._name = name
        self._uid = uid
        self._allowed_fragments = MAX_SMALL_FRAGMENTS

    def write(self, rows: pa.Table | None, find: Callable[[], NDArray[np.uint64]]) -> int:
        """Add ``rows`` and delete those at the addresses that ``find`` finds in ``dataset``, as read for this try;
        returns a version that shows it. Raises ``WritesPaused``.

        When the answer to a commit was lost, the next try finds the rows of the first and replaces them.
        """
        new: list[lance.FragmentMetadata] | None = None

        def update() -> LanceOperation.Update | None:
            nonlocal new
            if float(self.dataset.config().get(_PAUSED_UNTIL, 0)) > time.time():
                raise WritesPaused("The collection is being moved right now. Try again shortly.")
            leaving = find()
            if rows is None and not len(leaving):
                return None
            if new is None:
                new = [] if rows is None else write_fragments(rows, self.dataset, schema=rows.schema)
            return self._update(new, leaving)

        return self._commit_against_all(update)

    def _commit_against_all(self, update: Callable[[], LanceOperation.Update | None]) -> int:
        """Commit what ``update`` makes of the newest version, again and again until nobody else committed in
        between. Returns the new version, or the newest if there was nothing to do.
        """
        pause_seconds = _FIRST_PAUSE_SECONDS
        deadline = time.monotonic() + _COMMIT_SECONDS
        while True:
            self.refresh()
            version = int(self.dataset.version)
            operation = update()
            if operation is None:
                return version
            try:
                committed = lance.LanceDataset.commit(
                    self.dataset, operation, read_version=version, max_retries=0
                )
            except CommitConflictError as conflict:
                if time.monotonic() > deadline:
                    raise SearchUnavailable("The collection is busy. Try again shortly.") from conflict
                time.sleep(random.uniform(0.5, 1.0) * pause_seconds)  # noqa: S311 - not a secret
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            else:
                return int(committed.version)

    def pause(self, until_seconds: float) -> None:
        """See ``RowTable.pause_writes``."""
        self.refresh()
        self.dataset.update_config({_PAUSED_UNTIL: repr(until_seconds)})
        # Who read the table before has to read it again: this commit, like theirs, names the anchor.
        self._commit_against_all(lambda: LanceOperation.Update(updated_fragments=[self._anchor()]))

    def resume(self) -> None:
        """See ``RowTable.resume_writes``."""
        self.refresh()
        self.dataset.update_config({_PAUSED_UNTIL: "0"})

    def refresh(self) -> None:
        """Read the newest version."""
        self.dataset.checkout_latest()
        if not self.is_mine():
            raise gone(self._name)

    def is_mine(self) -> bool:
        """Whether the version that was read last is still of the collection."""
        return read_identity(self.dataset.schema.metadata).uid == self._uid

    def _anchor(self) -> lance.FragmentMetadata:
        return self.dataset.get_fragments()[0].metadata

    def compact(self) -> None:
        """Merge small fragments if it is time. After a failure it is, once there are some more of them.

        Whatever goes wrong here, the write before it was committed.
        """
        merged = False
        with suppress(*FAILURES):
            merged = compact_small_fragments(self.dataset, self._allowed_fragments)
        if merged:
            self._allowed_fragments = MAX_SMALL_FRAGMENTS
        else:
            self._allowed_fragments = len(self.dataset.get_fragments()) + MAX_SMALL_FRAGMENTS // 2

    def _update(
        self, new: list[lance.FragmentMetadata], leaving: NDArray[np.uint64]
    ) -> LanceOperation.Update:
        """The commit that adds fragments and deletes rows. It names the anchor, as every write does."""
        updated, removed = [self._anchor()], []
        fragments = leaving >> np.uint64(32)
        for fragment_id in np.unique(fragments).tolist():
            offsets = (leaving[fragments == fragment_id] & np.uint64(0xFFFFFFFF)).tolist()
            left = self.dataset.get_fragment(fragment_id).delete_rows(offsets)
            if left is None:
                removed.append(fragment_id)
            else:
                updated.append(left)
        return LanceOperation.Update(
            removed_fragment_ids=removed, updated_fragments=updated, new_fragments=new
        )

    def addresses(self, column: str, values: Sequence[str]) -> NDArray[np.uint64]:
        """Of the live rows that have one of the values in a column."""
        if not values:
            return np.empty(0, dtype=np.uint64)
        found = self.dataset.scanner(
            columns=[], filter=membership(column, values), with_row_address=True
        ).to_table()
        addresses: NDArray[np.uint64] = found.column("_rowaddr").to_numpy()
        return addresses
