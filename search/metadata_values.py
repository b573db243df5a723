"""Metadata values of one name and one kind, as columns: what a condition asks of them is answered for all at once.

Numbers are float64, which holds every integer up to 2**53 exactly; larger integers are kept apart, so that ids of
64 bits compare exactly too. Strings are codes into their sorted distinct values: by UTF-8 bytes, which is by code
point, so a range of strings is a range of codes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from search.filters import Range, Scalar

__all__ = ["EXACT_FLOAT_LIMIT", "Flags", "Floats", "Huge", "Integers", "Mask", "Strings", "Values"]

Mask: TypeAlias = NDArray[np.bool_]

EXACT_FLOAT_LIMIT = 1 << 53
"""Every integer up to it, of either sign, is a float64."""

_MAX_INT64 = np.iinfo(np.int64).max
_MIN_INT64 = np.iinfo(np.int64).min
_FEW_VALUES = 8


class Values(Protocol):
    """One kind's values, in order of their rows."""

    def __len__(self) -> int: ...

    def among(self, wanted: Sequence[Scalar]) -> Mask:
        """Which are equal to one of ``wanted``; those of other kinds equal none."""
        ...

    def within(self, bounds: Range) -> Mask:
        """Which lie within bounds, of which at least one is given; none if those are of another kind."""
        ...


@dataclass(frozen=True, slots=True)
class Floats:
    """``numbers`` float64: fractions, and integers up to ``EXACT_FLOAT_LIMIT``."""

    numbers: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.numbers)

    def among(self, wanted: Sequence[Scalar]) -> Mask:
        exact = [f for f in map(_same_float, _numbers(wanted)) if f is not None]
        return _is_in(self.numbers, np.array(exact, dtype=np.float64))

    def within(self, bounds: Range) -> Mask:
        if isinstance(_any_bound(bounds), str):
            return np.zeros(len(self), dtype=np.bool_)
        return _bounded(
            self.numbers,
            at_least=_each(_float_from, bounds.at_least),
            above=_each(_float_up_to, bounds.above),
            at_most=_each(_float_up_to, bounds.at_most),
            below=_each(_float_from, bounds.below),
        )


@dataclass(frozen=True, slots=True)
class Integers:
    """``numbers`` int64: integers that a float64 may not hold."""

    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def among(self, wanted: Sequence[Scalar]) -> Mask:
        whole = {int(number) for number in _numbers(wanted) if number == math.floor(number)}
        return _is_in(
            self.numbers, np.array([n for n in whole if _MIN_INT64 <= n <= _MAX_INT64], dtype=np.int64)
        )

    def within(self, bounds: Range) -> Mask:
        if isinstance(_any_bound(bounds), str):
            return np.zeros(len(self), dtype=np.bool_)
        low, high = _whole_bounds(bounds)
        if low > _MAX_INT64 or high < _MIN_INT64:
            return np.zeros(len(self), dtype=np.bool_)
        return _bounded(self.numbers, at_least=max(low, _MIN_INT64), at_most=min(high, _MAX_INT64))


@dataclass(frozen=True, slots=True)
class Huge:
    """Integers of more than 64 bits, which nothing but Python holds; there are hardly ever any."""

    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def among(self, wanted: Sequence[Scalar]) -> Mask:
        whole = {int(number) for number in _numbers(wanted) if number == math.floor(number)}
        return np.array([number in whole for number in self.numbers], dtype=np.bool_)

    def within(self, bounds: Range) -> Mask:
        if isinstance(_any_bound(bounds), str):
            return np.zeros(len(self), dtype=np.bool_)
        low, high = _whole_bounds(bounds)
        return np.array([low <= number <= high for number in self.numbers], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Flags:
    """``flags`` bool: JSON's true and false."""

    flags: Mask

    def __len__(self) -> int:
        return len(self.flags)

    def among(self, wanted: Sequence[Scalar]) -> Mask:
        found: Mask = np.zeros(len(self), dtype=np.bool_)
        for value in (True, False):
            if any(one is value for one in wanted):
                found |= self.flags == value
        return found

    def within(self, bounds: Range) -> Mask:
        return np.zeros(len(self), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Strings:
    """``codes`` (the smallest unsigned type that holds them) into ``distinct``, UTF-8 strings in order of bytes."""

    codes: NDArray[np.unsignedinteger]
    distinct: pa.LargeBinaryArray

    @classmethod
    def of(cls, texts: pa.Array) -> Strings:
        """From ``large_binary`` values without nulls."""
        encoded = texts.dictionary_encode()
        order = pc.sort_indices(encoded.dictionary).to_numpy()
        kind = np.min_scalar_type(max(len(order) - 1, 0))
        place = np.empty(len(order), dtype=kind)
        place[order] = np.arange(len(order), dtype=kind)
        return cls(place[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order)))

    def __len__(self) -> int:
        return len(self.codes)

    def among(self, wanted: Sequence[Scalar]) -> Mask:
        codes = set()
        for text in wanted:
            if isinstance(text, str):
                code = self._first_code(text, after=False)
                if code < len(self.distinct) and self.distinct[code].as_py() == _encoded(text):
                    codes.add(code)
        if len(codes) <= 1:
            return _is_in(self.codes, np.array(list(codes), dtype=self.codes.dtype))
        chosen: Mask = np.zeros(len(self.distinct), dtype=np.bool_)
        chosen[list(codes)] = True
        found: Mask = chosen[self.codes]
        return found

    def within(self, bounds: Range) -> Mask:
        if not isinstance(_any_bound(bounds), str):
            return np.zeros(len(self), dtype=np.bool_)
        low, high = 0, len(self.distinct)
        for bound, after in ((bounds.at_least, False), (bounds.above, True)):
            if isinstance(bound, str):
                low = max(low, self._first_code(bound, after))
        for bound, after in ((bounds.at_most, True), (bounds.below, False)):
            if isinstance(bound, str):
                high = min(high, self._first_code(bound, after))
        if low >= high:
            return np.zeros(len(self), dtype=np.bool_)
        return _bounded(self.codes, at_least=low, at_most=high - 1)

    def _first_code(self, text: str, after: bool) -> int:
        """The first code whose string is not before ``text`` (``after``: comes after it), by bisection."""
        key = _encoded(text)
        low, high = 0, len(self.distinct)
        while low < high:
            middle = (low + high) // 2
            found = self.distinct[middle].as_py()
            if found < key or (after and found == key):
                low = middle + 1
            else:
                high = middle
        return low


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON may hold halves of pairs


def _numbers(values: Sequence[Scalar]) -> list[int | float]:
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def _any_bound(bounds: Range) -> str | int | float | None:
    given = (bounds.at_least, bounds.above, bounds.at_most, bounds.below)
    return next((bound for bound in given if bound is not None), None)


def _each(change: Callable[[int | float], float], bound: str | int | float | None) -> float | None:
    return None if bound is None or isinstance(bound, str) else change(bound)


def _same_float(number: int | float) -> float | None:
    """The float64 equal to a number, if there is one."""
    try:
        nearest = float(number)
    except OverflowError:
        return None
    return nearest if nearest == number else None


def _float_from(number: int | float) -> float:
    """The smallest float64 that is not below a number."""
    try:
        nearest = float(number)
    except OverflowError:
        return math.inf if number > 0 else -sys.float_info.max
    return nearest if nearest >= number else math.nextafter(nearest, math.inf)


def _float_up_to(number: int | float) -> float:
    """The largest float64 that is not above a number."""
    return -_float_from(-number)


def _whole_bounds(bounds: Range) -> tuple[int | float, int | float]:
    """The lowest and the highest integer within bounds that are numbers."""
    low: int | float = -math.inf
    high: int | float = math.inf
    if bounds.at_least is not None and not isinstance(bounds.at_least, str):
        low = max(low, math.ceil(bounds.at_least))
    if bounds.above is not None and not isinstance(bounds.above, str):
        low = max(low, math.floor(bounds.above) + 1)
    if bounds.at_most is not None and not isinstance(bounds.at_most, str):
        high = min(high, math.floor(bounds.at_most))
    if bounds.below is not None and not isinstance(bounds.below, str):
        high = min(high, math.ceil(bounds.below) - 1)
    return low, high


def _bounded(
    values: NDArray[np.generic],
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Mask:
    found: Mask | None = None
    for compare, bound in (
        (np.greater_equal, at_least),
        (np.greater, above),
        (np.less_equal, at_most),
        (np.less, below),
    ):
        if bound is not None:
            one = compare(values, values.dtype.type(bound))
            found = one if found is None else np.logical_and(found, one, out=found)
    return np.ones(len(values), dtype=np.bool_) if found is None else found


def _is_in(values: NDArray[np.generic], wanted: NDArray[np.generic]) -> Mask:
    if len(wanted) > _FEW_VALUES:
        return np.isin(values, wanted)
    found: Mask = np.zeros(len(values), dtype=np.bool_)
    for value in wanted:
        found |= values == value
    return found
