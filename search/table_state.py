"""One pinned version of a collection's table, for reading."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from search.lance_tables import in_use
from search.segment_record import Origin
from search.text_index import match_text

__all__ = ["FragmentState", "TableState"]


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
    _name: str
    _uid: str
    _dataset: lance.LanceDataset

    def with_few_more(self, known: Container[int], count: int) -> TableState:
        """The same without fragments that are not ``known``, but for the ``count`` oldest of these."""
        more = sorted(fragment.id for fragment in self.fragments if fragment.id not in known)
        if len(more) <= count:
            return self
        left_out = set(more[count:])
        return replace(self, fragments=tuple(one for one in self.fragments if one.id not in left_out))

    def read(self, fragment_ids: Iterable[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Live rows of some fragments, all columns by default, and ``_rowaddr`` (uint64), in order of address."""
        wanted = set(fragment_ids)
        with self._reading():
            fragments = [f for f in self._dataset.get_fragments() if f.fragment_id in wanted]
            return self._dataset.scanner(
                columns=None if columns is None else list(columns),
                fragments=fragments,
                with_row_address=True,
                scan_in_order=True,
            ).to_table()

    def origins(self, fragment_ids: Iterable[int]) -> dict[int, Origin]:
        """What tells some fragments, and the deletions in them, from all others there ever were."""
        wanted = set(fragment_ids)
        return {
            fragment.fragment_id: _origin(fragment.metadata)
            for fragment in self._dataset.get_fragments()
            if fragment.fragment_id in wanted
        }

    def live_addresses(self, fragment_ids: Iterable[int]) -> NDArray[np.uint64]:
        """Addresses of the live rows of some fragments, rising."""
        addresses: NDArray[np.uint64] = self.read(fragment_ids, []).column("_rowaddr").to_numpy()
        return addresses

    def take(self, addresses: NDArray[np.uint64], columns: Sequence[str]) -> pa.Table:
        """Columns of some live rows, in the order of the addresses."""
        with self._reading():
            return self._dataset._take_rows(pa.array(addresses, pa.uint64()), columns=list(columns))

    def match_text(self, text: str, count: int) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """Addresses and BM25 scores of the ``count`` best rows for the words of ``text``, best first."""
        with self._reading():
            return match_text(self._dataset, text, count)

    def _reading(self) -> AbstractContextManager[None]:
        return in_use(self._dataset, self._name, self._uid, "read")


def _origin(fragment: lance.FragmentMetadata) -> Origin:
    deletions = fragment.deletion_file
    return Origin(
        fragment.files[0].path, "" if deletions is None else f"{deletions.read_version}-{deletions.id}"
    )
