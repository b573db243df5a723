"""Conditions on a document's metadata: a small tree of frozen values.

What they mean is said here once; ``search.metadata`` evaluates them on columns, and the exact implementation of
the tests (``tests/exact_search.py``) on dictionaries. Values are JSON scalars. Numbers compare as numbers (``1``
equals ``1.0``), ``True`` is not ``1``, strings compare by code point, and nothing compares across kinds: a range
of numbers never matches a string. A name that a document does not have, or has as null, matches ``Exists`` with
``False`` and no other condition; ``Not`` is plain negation, so ``Not(Equals("a", 1))`` matches it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["AllOf", "AnyOf", "Condition", "Equals", "Exists", "In", "Not", "Range", "Scalar", "walk"]

Scalar: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Equals:
    """The value under ``name`` is ``value``."""

    name: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class In:
    """The value under ``name`` is one of ``values``; none of them matches nothing."""

    name: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The value under ``name`` lies within the bounds, which are all numbers or all strings. Without any bound,
    everything that has a number or a string there.
    """

    name: str
    at_least: str | int | float | None = None
    above: str | int | float | None = None
    at_most: str | int | float | None = None
    below: str | int | float | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value under ``name`` that is not null; with ``present=False``, there is none."""

    name: str
    present: bool = True


@dataclass(frozen=True, slots=True)
class AllOf:
    """All conditions hold; of none, always."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One condition holds at least; of none, never."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    condition: Condition


Condition: TypeAlias = Equals | In | Range | Exists | AllOf | AnyOf | Not


def walk(condition: Condition, depth: int = 1) -> Iterator[tuple[Condition, int]]:
    """Every node of a tree with its depth, the root's being 1."""
    yield condition, depth
    match condition:
        case AllOf(conditions) | AnyOf(conditions):
            for inner in conditions:
                yield from walk(inner, depth + 1)
        case Not(inner):
            yield from walk(inner, depth + 1)
