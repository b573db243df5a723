"""A plan as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from deploy.planning.plan import Plan
from deploy.planning.sheet import Figure

__all__ = ["as_json", "as_text"]

_SCALES = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SUMMARY = (
    "rows", "memory_bytes", "object_bytes", "peak_gpus", "peak_cores", "readers", "cost_a_month", "cost_a_request",
)  # fmt: skip


def as_json(plan: Plan) -> dict[str, Any]:
    """Everything: the load, the kind of index, and each figure with its formula."""
    return {
        "load": plan.load.model_dump(mode="json"),
        "index_kind": plan.index_kind,
        "figures": {figure.name: asdict(figure) for figure in plan.figures},
    }


def as_text(plan: Plan) -> str:
    """A few lines to act on, then every figure under its title with the formula, and with its numbers below."""
    return "\n".join([*_summary(plan), *_sections(plan), ""])


def _summary(plan: Plan) -> Iterator[str]:
    yield f"Plan of the load {plan.load.name!r}; index: {plan.index_kind}"
    for figure in plan.figures:
        if figure.name in _SUMMARY:
            yield f"  {figure.name:<32}{_shown(figure)}"


def _sections(plan: Plan) -> Iterator[str]:
    section = ""
    for figure in plan.figures:
        if figure.section != section:
            section = figure.section
            yield f"\n{section}"
        if figure.formula:
            yield f"  {figure.name:<32}{_shown(figure):<28}= {figure.formula}"
            if figure.numbers != figure.formula:
                yield f"  {'':<60}= {figure.numbers}"
        else:
            yield f"  {figure.name:<32}{_shown(figure):<28}({figure.source})"


def _shown(figure: Figure) -> str:
    value = figure.value
    if figure.unit == "bytes":
        for scale, unit in _SCALES:
            if value >= scale:
                return f"{value / scale:.3g} {unit}"
    number = f"{value:,.0f}" if value == round(value) or value >= 1000 else f"{value:.4g}"
    return f"{number} {figure.unit}"
