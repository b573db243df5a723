"""The ``filters`` of a request as a condition of ``search.filters``, every refusal naming the field.

Bounded: at most ``_MAX_DEPTH`` levels, ``_MAX_NODES`` conditions and ``_MAX_VALUES`` values in a list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from search.filters import AllOf, AnyOf, Condition, Equals, Exists, In, Not, Range, Scalar
from serving.errors import InvalidRequest, LimitExceeded
from serving.protocol.search import DateRange, SearchFilters

__all__ = ["RESERVED_NAMES", "condition_of", "date_bounds"]

RESERVED_NAMES = frozenset({"date_range", "and", "or", "not"})
"""What ``filters`` understands itself; metadata cannot have these names."""

_MAX_DEPTH = 8
_MAX_NODES = 256
_MAX_VALUES = 1000
_MAX_NAME_CHARACTERS = 64
_MAX_VALUE_CHARACTERS = 1024
_MAX_INTEGER = 1 << 63  # columns of integers hold 64 bits
_BOUNDS = {"gte": "at_least", "gt": "above", "lte": "at_most", "lt": "below"}
_OPERATORS = ("eq", "ne", *_BOUNDS, "in", "exists")

_RULE = re.compile(r"last_([1-9][0-9]{0,4})_(minute|hour|day|week|month|year)s?", re.ASCII)
_UNIT_HOURS = {"minute": 1 / 60, "hour": 1, "day": 24, "week": 168, "month": 730.5, "year": 8766}


def condition_of(filters: SearchFilters, param: str = "filters") -> Condition | None:
    """The condition that ``filters``, but for ``date_range``, stand for; ``None`` when there is none.

    Raises ``InvalidRequest`` (``LimitExceeded`` for too many or too deep ones) with the param.
    """
    conditions = _Reader().conditions(filters.model_extra or {}, param, 1)
    if not conditions:
        return None
    return conditions[0] if len(conditions) == 1 else AllOf(tuple(conditions))


class _Reader:
    """Reads one tree and counts its conditions."""

    def __init__(self) -> None:
        self._nodes = 0

    def conditions(self, given: Mapping[str, Any], param: str, depth: int) -> list[Condition]:
        if depth > _MAX_DEPTH:
            raise LimitExceeded(f"Filters are nested more than {_MAX_DEPTH} levels deep.", param)
        found: list[Condition] = []
        for name, value in given.items():
            where = f"{param}.{name[:_MAX_NAME_CHARACTERS]}"
            if name in ("and", "or"):
                found.append(self._several(name, value, where, depth))
            elif name == "not":
                self._count(where)
                found.append(Not(AllOf(tuple(self.conditions(_object(value, where), where, depth + 1)))))
            elif name == "date_range":
                raise InvalidRequest("'date_range' stands beside the other filters, not inside them.", where)
            elif not 0 < len(name) <= _MAX_NAME_CHARACTERS:
                raise InvalidRequest(f"Names of metadata have 1 to {_MAX_NAME_CHARACTERS} characters.", where)
            elif isinstance(value, Mapping):
                found += self._operators(name, value, where)
            else:
                self._count(where)
                found.append(Equals(name, _scalar(value, where)))
        return found

    def _several(self, name: str, given: Any, param: str, depth: int) -> Condition:
        self._count(param)
        if not isinstance(given, list) or not given:
            raise InvalidRequest(f"'{name}' needs a list of at least one object of filters.", param)
        inner = tuple(
            AllOf(tuple(self.conditions(_object(item, where), where, depth + 1)))
            for item, where in ((item, f"{param}[{index}]") for index, item in enumerate(given))
        )
        return AllOf(inner) if name == "and" else AnyOf(inner)

    def _operators(self, name: str, given: Mapping[str, Any], param: str) -> list[Condition]:
        found: list[Condition] = []
        bounds: dict[str, str | int | float] = {}
        if not given:
            raise InvalidRequest(
                f"There is no operator in '{param}'; there are {', '.join(_OPERATORS)}.", param
            )
        for operator, value in given.items():
            where = f"{param}.{operator[:_MAX_NAME_CHARACTERS]}"
            self._count(where)
            if operator == "eq":
                found.append(Equals(name, _scalar(value, where)))
            elif operator == "ne":
                found.append(Not(Equals(name, _scalar(value, where))))
            elif operator == "in":
                found.append(In(name, _values(value, where)))
            elif operator == "exists":
                if not isinstance(value, bool):
                    raise InvalidRequest("'exists' is true or false.", where)
                found.append(Exists(name, value))
            elif operator in _BOUNDS:
                bound = _scalar(value, where)
                if isinstance(bound, bool):
                    raise InvalidRequest("A bound is a number or a string, not true or false.", where)
                if any(isinstance(bound, str) != isinstance(other, str) for other in bounds.values()):
                    raise InvalidRequest("The bounds of a range are all numbers or all strings.", where)
                bounds[_BOUNDS[operator]] = bound
            else:
                raise InvalidRequest(
                    f"There is no operator of this name; there are {', '.join(_OPERATORS)}.",
                    where,
                    "unknown_parameter",
                )
        if bounds:
            found.append(Range(name, **bounds))
        return found

    def _count(self, param: str) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise LimitExceeded(f"There are more than {_MAX_NODES} conditions in 'filters'.", param)


def _object(given: Any, param: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping) or not given:
        raise InvalidRequest("An object of at least one filter was expected here.", param)
    return given


def _values(given: Any, param: str) -> tuple[Scalar, ...]:
    if not isinstance(given, list):
        raise InvalidRequest("'in' needs a list of values.", param)
    if len(given) > _MAX_VALUES:
        raise LimitExceeded(f"'in' takes at most {_MAX_VALUES} values.", param)
    return tuple(_scalar(value, f"{param}[{index}]") for index, value in enumerate(given))


def _scalar(given: Any, param: str) -> Scalar:
    if isinstance(given, bool):
        return given
    if isinstance(given, str):
        if len(given) > _MAX_VALUE_CHARACTERS:
            raise LimitExceeded(
                f"A value to filter by has at most {_MAX_VALUE_CHARACTERS} characters.", param
            )
        return given
    if isinstance(given, int) and -_MAX_INTEGER <= given < _MAX_INTEGER:
        return given
    if isinstance(given, float) and math.isfinite(given):
        return given
    if isinstance(given, int | float):
        raise InvalidRequest("This number is too large to filter by.", param)
    raise InvalidRequest(
        "A string, a number, or true or false was expected. Values that are missing are found by "
        '{"exists": false}.',
        param,
    )


def date_bounds(wanted: str | DateRange | None, now: datetime) -> tuple[float | None, float | None]:
    """Bounds in seconds since the epoch of ``last_<n>_<unit>`` or explicit ISO bounds; a bare end date is
    inclusive.
    """
    if wanted is None:
        return None, None
    if isinstance(wanted, str):
        rule = _RULE.fullmatch(wanted)
        if rule is None:
            raise InvalidRequest(
                "'date_range' must be like 'last_30_days' (minutes, hours, days, weeks, months, years) or an "
                "object with 'from' and 'to'.",
                "filters.date_range",
            )
        return now.timestamp() - int(rule[1]) * _UNIT_HOURS[rule[2]] * 3600, None
    after = _moment(wanted.from_, "from") if wanted.from_ else None
    before = _moment(wanted.to, "to") if wanted.to else None
    if before is not None and wanted.to and len(wanted.to) == len("2026-01-31"):
        try:
            before += timedelta(days=1)
        except OverflowError:  # the last day there is: everything lies before its end
            before = None
    return after.timestamp() if after else None, before.timestamp() if before else None


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            "Dates must be ISO 8601, such as 2026-01-31 or 2026-01-31T12:00:00Z.",
            f"filters.date_range.{name}",
        ) from error
