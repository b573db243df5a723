"""What keeps a table fast: few fragments, indexes that know most rows, no old versions.

All of it may be left out or fail at any time without harm to the rows; losing a race against a writer is normal,
and the next round tries again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise

import lance

from search.lance_errors import FAILURES
from search.text_index import TEXT_INDEX_SETTINGS

__all__ = [
    "MAX_SMALL_FRAGMENTS",
    "OldVersions",
    "compact_small_fragments",
    "ensure_indexes",
    "remove_all_old_versions",
    "remove_old_versions",
    "rewrite_deleted",
    "update_indexes",
]

_LOG = logging.getLogger(__name__)
MAX_SMALL_FRAGMENTS = 28  # and the newest
_NEWEST_FRAGMENTS = 4
_FRAGMENT_TIERS_ROWS = (1024, 16 * 1024, 256 * 1024)
_KEEP_VERSIONS = timedelta(minutes=10)  # longer than a refresh reads one version
_KEEP_VERSIONS_AT_LEAST = timedelta(seconds=60)
_MANY_VERSIONS = 2000  # local files are listed to find the newest: 0.3 ms for a thousand
_CLEAN_AFTER_VERSIONS = 500
_CLEAN_AFTER_SECONDS = 30.0  # at the soonest: the manifests of all versions are read
_ID_INDEX = "document_id_idx"
_TEXT_INDEX = "text_idx"
_UNINDEXED_ROWS = 2000  # words are looked for in so many within 10 ms, ids much faster
_SEGMENT_GROWTH = 4


def ensure_indexes(dataset: lance.LanceDataset) -> None:
    """Make the indexes that are missing, empty for now: rows they do not know are found by scanning."""
    there = {index.name for index in dataset.describe_indices()}
    with _best_effort("given its indexes"):
        if _ID_INDEX not in there:
            dataset.create_scalar_index("document_id", "BTREE", name=_ID_INDEX, train=False)
        if _TEXT_INDEX not in there:
            dataset.create_scalar_index(
                "text", "INVERTED", name=_TEXT_INDEX, train=False, **TEXT_INDEX_SETTINGS
            )


def update_indexes(dataset: lance.LanceDataset) -> None:
    """Let the indexes learn new rows, once these are so many that scanning them is felt.

    What is new becomes a segment of its own, together with those before it that are not much larger: so a row is
    written into an index a few times in its life, however large the index grows.
    """
    ensure_indexes(dataset)
    total = dataset.count_rows()
    due = [index for index in dataset.describe_indices() if total - index.num_rows_indexed > _UNINDEXED_ROWS]
    if not due:
        return
    # First, as merging fragments that an index knows means writing that index again.
    compact_small_fragments(dataset, allowed=1)
    for index in due:
        with _best_effort("indexed"):
            merged, size = 0, total - index.num_rows_indexed
            for segment_rows in reversed(_segment_rows(dataset, index.name)):
                if segment_rows > _SEGMENT_GROWTH * size:
                    break
                merged, size = merged + 1, size + segment_rows
            dataset.optimize.optimize_indices(index_names=[index.name], num_indices_to_merge=merged)


def _segment_rows(dataset: lance.LanceDataset, index_name: str) -> list[int]:
    """How many rows each of an index's segments knows, oldest first."""
    found: list[int] = dataset.stats.index_stats(index_name)["num_indexed_rows_per_delta"]
    return found


def compact_small_fragments(
    dataset: lance.LanceDataset, allowed: int = MAX_SMALL_FRAGMENTS, all_tiers: bool = False
) -> bool:
    """Merge small fragments once there are more than ``allowed``; each add makes one. ``False`` when that was due
    and failed.

    In tiers, so that a few new rows never cause a large fragment to be written again. The first tier, of fragments
    that no index knows yet, takes milliseconds; others, which may take longer, are left out unless ``all_tiers``.
    The newest fragments are left out as well: what is replaced again and again lies there, and each deletion in a
    fragment that is being merged makes that fail.
    """
    anchor, *fragments = dataset.get_fragments()
    newest = fragments[-_NEWEST_FRAGMENTS:]
    excluded = {anchor.fragment_id, *(fragment.fragment_id for fragment in newest)}
    tiers: tuple[int, ...] = _FRAGMENT_TIERS_ROWS
    if not all_tiers:
        tiers = tiers[:1]
        segments = [segment for index in dataset.describe_indices() for segment in index.segments]
        excluded.update(*(segment.fragment_ids for segment in segments))
    sizes = [fragment.physical_rows for fragment in fragments if fragment.fragment_id not in excluded]
    for floor_rows, tier_rows in pairwise((0, *tiers)):
        if sum(floor_rows <= size < tier_rows for size in sizes) > allowed:
            break
    else:
        return True
    with _best_effort("compacted"):
        dataset.optimize.compact_files(
            target_rows_per_fragment=tier_rows, excluded_fragment_ids=sorted(excluded)
        )
        return True
    return False


def rewrite_deleted(dataset: lance.LanceDataset) -> None:
    """Write fragments with deleted rows anew without them."""
    anchor, *fragments = dataset.get_fragments()
    if any(fragment.num_deletions for fragment in fragments):
        with _best_effort("compacted"):
            dataset.optimize.compact_files(
                materialize_deletions_threshold=0.0, excluded_fragment_ids=[anchor.fragment_id]
            )


class OldVersions:
    """Drops a table's old versions now and then. Every commit makes one: they are kept for ten minutes, but not
    more than about two thousand of them, unless they are of the last minute.
    """

    def __init__(self) -> None:
        self._version: int | None = None
        self._at_seconds = time.monotonic()

    def remove_if_due(self, dataset: lance.LanceDataset) -> None:
        """Look whether it is time."""
        versions = int(dataset.version) - (self._version or 0)
        seconds = time.monotonic() - self._at_seconds
        if versions < _CLEAN_AFTER_VERSIONS or seconds < _CLEAN_AFTER_SECONDS:
            return
        keep = _KEEP_VERSIONS
        if self._version is not None:  # at first nothing is known of when the versions were made
            recent = timedelta(seconds=_MANY_VERSIONS * seconds / versions)
            keep = min(keep, max(recent, _KEEP_VERSIONS_AT_LEAST))
        with _best_effort("cleared of old versions"):
            dataset.cleanup_old_versions(older_than=keep)
        self._version, self._at_seconds = int(dataset.version), time.monotonic()


def remove_old_versions(dataset: lance.LanceDataset) -> int:
    """Drop versions that nobody reads any more; returns how many bytes that were."""
    return int(dataset.cleanup_old_versions(older_than=_KEEP_VERSIONS).bytes_removed)


def remove_all_old_versions(dataset: lance.LanceDataset | None) -> int:
    """Take what a dropped collection held off the disk; returns how many bytes that were."""
    removed = 0
    if dataset is not None:
        with _best_effort("cleared"):
            removed = int(dataset.cleanup_old_versions(older_than=timedelta(0)).bytes_removed)
    return removed


@contextmanager
def _best_effort(what: str) -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        _LOG.info("A collection could not be %s now: %s", what, error)
