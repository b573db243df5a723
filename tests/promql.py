"""Which metrics and labels a query of PromQL wants, held against what a real exposition has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Selected", "exposed", "missing", "selected"]

_ADDED = frozenset({"instance", "job", "deployment", "replica"})  # by Prometheus, and in clusters
_OF_GRAFANA = {"$__rate_interval": "5m", "$__interval": "1m"}


@dataclass(frozen=True)
class Selected:
    """One metric in a query: its name, the labels it is chosen by, and those it is grouped by around it."""

    name: str
    labels: frozenset[str]


def selected(query: str) -> list[Selected]:
    """All metrics of a query. Raises ``ValueError`` for what is not PromQL."""
    for variable, value in _OF_GRAFANA.items():
        query = query.replace(variable, value)
    return list(_walk(promql_parser.parse(query), frozenset()))


def _walk(node: Any, grouped: frozenset[str]) -> Iterator[Selected]:
    if isinstance(node, promql_parser.VectorSelector):
        chosen = {matcher.name for matcher in node.matchers.matchers}
        yield Selected(node.name or "", grouped | frozenset(chosen))
    elif isinstance(node, promql_parser.MatrixSelector):
        yield from _walk(node.vector_selector, grouped)
    elif isinstance(node, promql_parser.AggregateExpr):
        yield from _walk(node.expr, grouped | frozenset(node.modifier.labels if node.modifier else ()))
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from _walk(argument, grouped)
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from _walk(node.lhs, grouped)
        yield from _walk(node.rhs, grouped)
    elif isinstance(node, promql_parser.ParenExpr | promql_parser.UnaryExpr | promql_parser.SubqueryExpr):
        yield from _walk(node.expr, grouped)
    elif not isinstance(node, promql_parser.NumberLiteral | promql_parser.StringLiteral):
        raise AssertionError(f"a kind of expression that is not walked: {type(node).__name__}")


def exposed(text: str) -> dict[str, set[str]]:
    """The names of all samples of an exposition, each with its labels; families without a sample have none."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        found.setdefault(family.name, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def missing(query: str, there: dict[str, set[str]], prefixes: Iterable[str]) -> list[str]:
    """What the metrics of ``query`` that begin with one of ``prefixes`` lack, in words."""
    wrong = []
    for one in selected(query):
        if not one.name.startswith(tuple(prefixes)):
            continue
        if one.name not in there:
            wrong.append(f"no metric {one.name}")
        elif lacking := one.labels - there[one.name] - _ADDED:
            wrong.append(f"{one.name} has no label {sorted(lacking)}")
    return wrong
