"""Metadata as columns, and conditions on them as masks of rows.

A row's metadata is a JSON object, stored as text; filters would be slow on that. So each name gets typed columns
(``search.metadata_values``), and a condition is evaluated for all rows of a segment at once.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from search.errors import InvalidQuery
from search.filters import AllOf, AnyOf, Condition, Equals, Exists, In, Not, Range, walk
from search.metadata_values import EXACT_FLOAT_LIMIT, Flags, Floats, Huge, Integers, Mask, Strings, Values

__all__ = [
    "MAX_CONDITIONS",
    "MAX_DEPTH",
    "MAX_VALUES",
    "MetadataColumns",
    "check_condition",
    "decoded_metadata",
]

MAX_DEPTH = 16
MAX_CONDITIONS = 256
MAX_VALUES = 10_000
_BLOCK_ROWS = 1 << 16  # decoded at a time: Python's values take ten times the room of columns
_MAX_INT64 = np.iinfo(np.int64).max
_MIN_INT64 = np.iinfo(np.int64).min
_DECODER = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class _Column:
    """Values of one name and kind. ``positions`` (int32, rising) are their rows, ``None`` when all rows have one;
    ``values`` is ``None`` for lists and objects, of which only the presence matters.
    """

    positions: NDArray[np.int32] | None
    values: Values | None


class MetadataColumns:
    """The metadata of some rows. Immutable, so threads share it."""

    def __init__(self, rows: int, columns: Mapping[str, tuple[_Column, ...]]) -> None:
        self._rows = rows
        self._columns = columns

    @classmethod
    def of(cls, encoded: pa.Array | pa.ChunkedArray) -> MetadataColumns:
        """From a column of JSON objects as text."""
        gathered: dict[str, dict[str, list[Any]]] = {}
        start = 0
        for block in _blocks(encoded):
            for name, (positions, values) in _by_name(block, start).items():
                kinds = gathered.setdefault(name, {})
                for kind, piece in _by_kind(np.frombuffer(positions, dtype=np.int32), values):
                    kinds.setdefault(kind, []).append(piece)
            start += len(block)
        return cls(
            start,
            {
                name: tuple(_column(kind, pieces, start) for kind, pieces in kinds.items())
                for name, kinds in gathered.items()
            },
        )

    def __len__(self) -> int:
        return self._rows

    def mask(self, condition: Condition) -> Mask:
        """Which rows satisfy a condition that ``check_condition`` let pass. The caller may change the mask."""
        match condition:
            case Equals(name, value):
                return self._any(name, lambda values: values.among((value,)))
            case In(name, wanted):
                return self._any(name, lambda values: values.among(wanted))
            case Range(name) if _bounds(condition):
                return self._any(name, lambda values: values.within(condition))
            case Range(name):
                return self._any(name, _all_comparable)
            case Exists(name, present):
                found = self._present(name)
                return found if present else np.logical_not(found, out=found)
            case AllOf(conditions):
                found = np.ones(self._rows, dtype=np.bool_)
                for inner in conditions:
                    found &= self.mask(inner)
                return found
            case AnyOf(conditions):
                found = np.zeros(self._rows, dtype=np.bool_)
                for inner in conditions:
                    found |= self.mask(inner)
                return found
            case Not(inner):
                found = self.mask(inner)
                return np.logical_not(found, out=found)

    def _any(self, name: str, test: Any) -> Mask:
        found: Mask = np.zeros(self._rows, dtype=np.bool_)
        for column in self._columns.get(name, ()):
            if column.values is None:
                continue
            if column.positions is None:
                found = test(column.values)
            else:
                found[column.positions] = test(column.values)  # a row has one value: kinds do not overlap
        return found

    def _present(self, name: str) -> Mask:
        found: Mask = np.zeros(self._rows, dtype=np.bool_)
        for column in self._columns.get(name, ()):
            found[slice(None) if column.positions is None else column.positions] = True
        return found


def decoded_metadata(encoded: str | bytes) -> dict[str, Any]:
    """A row's metadata as Python's values."""
    try:
        return _DECODER.decode(encoded)
    except msgspec.MsgspecError:  # halves of surrogate pairs, numbers beyond float64
        decoded: dict[str, Any] = json.loads(encoded)
        return decoded


def check_condition(condition: Condition) -> None:
    """Raise ``InvalidQuery`` for a condition that is too large, or asks for what it cannot."""
    for count, (node, depth) in enumerate(_walked(condition), 1):
        if depth > MAX_DEPTH:
            raise InvalidQuery(f"A filter may be nested {MAX_DEPTH} levels deep at most.")
        if count > MAX_CONDITIONS:
            raise InvalidQuery(f"A filter may have {MAX_CONDITIONS} conditions at most.")
        match node:
            case Equals(_, value):
                _check_value(value)
            case In(_, values):
                if len(values) > MAX_VALUES:
                    raise InvalidQuery(f"A filter's list may have {MAX_VALUES} values at most.")
                for value in values:
                    _check_value(value)
            case Range():
                bounds = _bounds(node)
                for bound in bounds:
                    _check_value(bound)
                if (
                    any(isinstance(bound, bool) for bound in bounds)
                    or len({isinstance(bound, str) for bound in bounds}) > 1
                ):
                    raise InvalidQuery("The bounds of a range must be all numbers or all strings.")
            case Exists() | AllOf() | AnyOf() | Not():
                pass
            case _:
                raise InvalidQuery("A filter must be made of the known conditions.")


def _walked(condition: Condition) -> Iterator[tuple[Condition, int]]:
    try:
        yield from walk(condition)
    except RecursionError:
        raise InvalidQuery(f"A filter may be nested {MAX_DEPTH} levels deep at most.") from None


def _check_value(value: Any) -> None:
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidQuery("Filter values must be strings, finite numbers, true or false.")


def _bounds(bounds: Range) -> list[str | int | float]:
    given = (bounds.at_least, bounds.above, bounds.at_most, bounds.below)
    return [bound for bound in given if bound is not None]


def _all_comparable(values: Values) -> Mask:
    return np.full(len(values), not isinstance(values, Flags), dtype=np.bool_)


def _blocks(encoded: pa.Array | pa.ChunkedArray) -> Iterator[list[str]]:
    for start in range(0, len(encoded), _BLOCK_ROWS):
        yield encoded.slice(start, _BLOCK_ROWS).to_pylist()


def _by_name(block: Sequence[str], start: int) -> dict[str, tuple[array[int], list[Any]]]:
    """Per name the rows that have a value that is not null, and those values."""
    found: dict[str, tuple[array[int], list[Any]]] = {}
    for position, encoded in enumerate(block, start):
        if encoded == "{}":
            continue
        for name, value in decoded_metadata(encoded).items():
            if value is None:
                continue
            pair = found.get(name)
            if pair is None:
                pair = found[name] = (array("i"), [])
            pair[0].append(position)
            pair[1].append(value)
    return found


def _by_kind(
    positions: NDArray[np.int32], values: list[Any]
) -> Iterator[tuple[str, tuple[NDArray[np.int32], Any]]]:
    """Values of one name, parted by their kind; the rows of each stay in order."""
    types = set(map(type, values))
    if types == {str}:
        yield "strings", (positions, _binary(values))
        return
    if types <= {int, float} and all(-EXACT_FLOAT_LIMIT <= v <= EXACT_FLOAT_LIMIT for v in values):
        yield "floats", (positions, np.array(values, dtype=np.float64))
        return
    parted: dict[str, list[int]] = {}
    for number, value in enumerate(values):
        parted.setdefault(_kind(value), []).append(number)
    for kind, numbers in parted.items():
        chosen = [values[number] for number in numbers]
        piece: Any
        match kind:
            case "strings":
                piece = _binary(chosen)
            case "floats":
                piece = np.array(chosen, dtype=np.float64)
            case "integers":
                piece = np.array(chosen, dtype=np.int64)
            case "flags":
                piece = np.array(chosen, dtype=np.bool_)
            case _:
                piece = tuple(chosen) if kind == "huge" else ()
        yield kind, (positions[numbers], piece)


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "flags"
        case str():
            return "strings"
        case float():
            return "floats"
        case int():
            if -EXACT_FLOAT_LIMIT <= value <= EXACT_FLOAT_LIMIT:
                return "floats"
            return "integers" if _MIN_INT64 <= value <= _MAX_INT64 else "huge"
        case _:
            return "others"


def _binary(texts: list[str]) -> pa.Array:
    try:
        return pa.array(texts, pa.large_string()).cast(pa.large_binary())
    except UnicodeEncodeError:
        return pa.array([text.encode("utf-8", "surrogatepass") for text in texts], pa.large_binary())


def _column(kind: str, pieces: list[tuple[NDArray[np.int32], Any]], rows: int) -> _Column:
    positions = np.concatenate([piece[0] for piece in pieces])
    parts = [piece[1] for piece in pieces]
    values: Values | None
    match kind:
        case "strings":
            values = Strings.of(pa.concat_arrays(parts))
        case "floats":
            values = Floats(np.concatenate(parts))
        case "integers":
            values = Integers(np.concatenate(parts))
        case "flags":
            values = Flags(np.concatenate(parts))
        case "huge":
            values = Huge(tuple(number for part in parts for number in part))
        case _:
            values = None
    return _Column(None if len(positions) == rows else positions, values)
