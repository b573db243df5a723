"""The stored columns of a segment's rows, read row by row at little cost.

Arrow's scalars take half a microsecond each and there are a hundred in an answer, so texts are sliced out of
Arrow's buffers here. The buffers may be of a mapped file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["COLUMNS", "RowColumns", "Texts", "sorted_columns"]

_TEXTS = ("document_id", "modality", "media_id", "content_hash", "text", "metadata")
COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    *((name, pa.large_string()) for name in _TEXTS),
    ("ordinal", pa.int32()),
    ("part_index", pa.int32()),
    ("start_seconds", pa.float64()),  # NaN where there is none
    ("end_seconds", pa.float64()),
    ("created_at_seconds", pa.float64()),
    ("_rowaddr", pa.uint64()),
)
"""What a segment keeps of each row, but for vectors, and how."""


class Texts:
    """A column of texts, some of which may be missing."""

    def __init__(self, column: pa.LargeStringArray) -> None:
        validity, offsets, data = column.buffers()
        self.column = column
        self._offsets: NDArray[np.int64] = np.frombuffer(offsets, dtype=np.int64)[
            column.offset : column.offset + len(column) + 1
        ]
        self._starts = _view(self._offsets)
        self._data = memoryview(data) if data is not None else memoryview(b"")
        self._missing: Any = None
        if validity is not None and column.null_count:
            self._missing = _view(column.is_null().to_numpy(zero_copy_only=False))

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, row: int) -> str:
        start, end = self._starts[row], self._starts[row + 1]
        return self._data[start:end].tobytes().decode() if start < end else ""

    def get(self, row: int) -> str | None:
        """The text, or ``None`` where it is missing."""
        if self._missing is not None and self._missing[row]:
            return None
        return self[row]

    def encoded(self, row: int) -> bytes:
        """UTF-8 bytes, whose order is that of code points."""
        return self._data[self._starts[row] : self._starts[row + 1]].tobytes()

    def prefixes(self) -> NDArray[np.uint64]:
        """The first 8 bytes of each text as a number (shorter ones filled up with zeros), which orders them."""
        starts, sizes = self._offsets[:-1], np.diff(self._offsets)
        data = np.frombuffer(self._data, dtype=np.uint8) if len(self._data) else np.empty(0, dtype=np.uint8)
        found = np.zeros(len(self), dtype=np.uint64)
        for place in range(8):
            at = np.flatnonzero(sizes > place)
            found[at] |= data[starts[at] + place].astype(np.uint64) << np.uint64(8 * (7 - place))
        return found


class _Numbers:
    """Numbers of rows, for reading one by one: as memoryviews, which give Python's own numbers, and quicker."""

    __slots__ = ("created", "document_numbers", "ends", "modality_codes", "part_indexes", "starts")

    def __init__(self, columns: RowColumns) -> None:
        self.created = _view(columns.created)
        self.document_numbers = _view(columns.document_numbers)
        self.ends = _view(columns.ends)
        self.modality_codes = _view(columns.modality_codes)
        self.part_indexes = _view(columns.part_indexes)
        self.starts = _view(columns.starts)


class RowColumns:
    """Rows in order of document id and, within a document, of ``ordinal``. Immutable, so threads share it."""

    def __init__(self, table: pa.Table) -> None:
        """``table``: ``COLUMNS``, one chunk each, in that order of rows (``sorted_columns``)."""
        self.table = table
        self.addresses: NDArray[np.uint64] = self._numbers("_rowaddr")
        self.ordinals: NDArray[np.int32] = self._numbers("ordinal")
        self.created: NDArray[np.float64] = self._numbers("created_at_seconds")
        self.part_indexes: NDArray[np.int32] = self._numbers("part_index")
        self.starts: NDArray[np.float64] = self._numbers("start_seconds")
        self.ends: NDArray[np.float64] = self._numbers("end_seconds")
        self.ids = self._texts("document_id")
        self.media_ids = self._texts("media_id")
        self.content_hashes = self._texts("content_hash")
        self.texts = self._texts("text")
        self.metadata = self._texts("metadata")
        modality = self._chunk("modality").dictionary_encode()
        self.modalities: tuple[str, ...] = tuple(modality.dictionary.to_pylist())
        self.modality_codes: NDArray[np.uint8] = modality.indices.to_numpy().astype(
            np.min_scalar_type(len(self.modalities))
        )
        self.document_numbers = self._document_numbers()
        self.numbers = _Numbers(self)

    def __len__(self) -> int:
        return len(self.addresses)

    @property
    def documents(self) -> int:
        """How many documents the rows are of."""
        return int(self.document_numbers[-1]) + 1 if len(self) else 0

    def rows_of(self, document_id: str) -> range:
        """The rows of a document; none when it is not here."""
        key = document_id.encode("utf-8", "surrogatepass")
        first = self._first_row(key)
        if first == len(self) or self.ids.encoded(first) != key:
            return range(0)
        number = self.document_numbers[first]
        return range(first, int(np.searchsorted(self.document_numbers, number, side="right")))

    def first_row_after(self, document_id: str) -> int:
        """The first row of the documents that come after one that may or may not be here."""
        return self._first_row(document_id.encode("utf-8", "surrogatepass") + b"\0")

    def rows_of_contents(self, content_hashes: Sequence[str]) -> dict[str, list[int]]:
        """Per content hash that is here, the rows made of it."""
        prefixes, order = self._content_order
        wanted = Texts(pa.array(list(content_hashes), pa.large_string())).prefixes()
        firsts = np.searchsorted(prefixes, wanted, side="left")
        lasts = np.searchsorted(prefixes, wanted, side="right")
        found: dict[str, list[int]] = {}
        for number in np.flatnonzero(firsts < lasts).tolist():
            content_hash = content_hashes[number]
            rows = [
                row
                for row in order[firsts[number] : lasts[number]].tolist()
                if self.content_hashes[row] == content_hash
            ]
            if rows:
                found[content_hash] = rows
        return found

    def at_addresses(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The rows of some addresses, -1 for those that are not here."""
        order = self.address_order
        if not len(order):
            return np.full(len(addresses), -1, dtype=np.int64)
        places = np.searchsorted(self.addresses, addresses, sorter=order)
        rows: NDArray[np.int64] = order[np.minimum(places, len(order) - 1)].astype(np.int64)
        rows[self.addresses[rows] != addresses] = -1
        return rows

    # Made on first use and then kept. Two threads may make one at the same time: both get the same.

    @cached_property
    def address_order(self) -> NDArray[np.int32]:
        """Rows by rising address."""
        return np.argsort(self.addresses).astype(np.int32)

    @cached_property
    def _content_order(self) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
        present = pc.is_valid(self.content_hashes.column).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(present).astype(np.int32)
        prefixes = self.content_hashes.prefixes()[rows]
        order = np.argsort(prefixes, kind="stable")
        return prefixes[order], rows[order]

    def _first_row(self, key: bytes) -> int:
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.ids.encoded(middle) < key:
                low = middle + 1
            else:
                high = middle
        return low

    def _document_numbers(self) -> NDArray[np.int32]:
        ids = self.ids.column
        numbers = np.zeros(len(self), dtype=np.int32)
        if len(self) > 1:
            changes = pc.not_equal(ids.slice(1), ids.slice(0, len(self) - 1))
            np.cumsum(changes.to_numpy(zero_copy_only=False), out=numbers[1:])
        return numbers

    def _chunk(self, name: str) -> pa.Array:
        column = self.table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    def _numbers(self, name: str) -> Any:
        return self._chunk(name).to_numpy()

    def _texts(self, name: str) -> Texts:
        return Texts(self._chunk(name))


def _view(array: Any) -> Any:
    """A memoryview; NumPy's types do not say that arrays are buffers, nor a buffer's what it holds."""
    return memoryview(array)


def sorted_columns(table: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    """``COLUMNS`` of a table of rows in a segment's order, and that order: which row of ``table`` each one was."""
    columns = {}
    for name, kind in COLUMNS:
        column = table.column(name)
        if column.type != kind:
            column = column.cast(kind)
        if pa.types.is_floating(kind):
            column = column.fill_null(float("nan"))
        columns[name] = column.combine_chunks()
    laid_out = pa.table(columns, schema=pa.schema([pa.field(name, kind) for name, kind in COLUMNS]))
    order = pc.sort_indices(laid_out, sort_keys=[("document_id", "ascending"), ("ordinal", "ascending")])
    return laid_out.take(order).combine_chunks(), order.to_numpy().astype(np.int64)
