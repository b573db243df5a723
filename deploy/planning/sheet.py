"""A sheet of figures: what is given, and what follows from it by formulas that are both computed and shown."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Figure", "Sheet"]

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "ceil": math.ceil,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. It is given (``formula`` is empty and ``source`` says by whom), or computed by ``formula`` over
    the names of figures above it; ``numbers`` is that formula with their values put in.
    """

    section: str
    name: str
    value: float
    unit: str
    formula: str = ""
    numbers: str = ""
    source: str = ""


class Sheet:
    """Figures in the order they were added, each name once. A formula is the only way to a computed value, so what
    is shown is what was computed.
    """

    def __init__(self) -> None:
        self._figures: dict[str, Figure] = {}
        self._section = ""

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._figures.values())

    def __contains__(self, name: object) -> bool:
        return name in self._figures

    def __getitem__(self, name: str) -> float:
        return self._figures[name].value

    def section(self, title: str) -> None:
        """What follows belongs under this title."""
        self._section = title

    def given(self, name: str, value: float, unit: str, source: str) -> None:
        """Add a number from outside."""
        self._add(Figure(self._section, name, float(value), unit, source=source))

    def compute(self, name: str, formula: str, unit: str) -> float:
        """Add what ``formula`` gives: numbers, names of figures, ``+ - * /``, ``ceil``, ``max``, ``min``, ``sqrt``.

        Raises ``ValueError`` for anything else, ``KeyError`` for a name that is not there yet.
        """
        tree = ast.parse(formula, mode="eval").body
        value = float(self._evaluate(tree))
        self._add(Figure(self._section, name, value, unit, formula, self._numbers(tree)))
        return value

    def _add(self, figure: Figure) -> None:
        if figure.name in self._figures:
            raise ValueError(f"The figure {figure.name!r} is there already.")
        self._figures[figure.name] = figure

    def _evaluate(self, node: ast.expr) -> float:
        match node:
            case ast.Constant(int() | float() as number):
                return number
            case ast.Name(name):
                return self._figures[name].value
            case ast.BinOp(left, sign, right) if type(sign) in _OPERATORS:
                return _OPERATORS[type(sign)](self._evaluate(left), self._evaluate(right))
            case ast.Call(ast.Name(name), arguments, []) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*(self._evaluate(argument) for argument in arguments))
        raise ValueError(f"A formula cannot hold {ast.unparse(node)!r}.")

    def _numbers(self, tree: ast.expr) -> str:
        class PutIn(ast.NodeTransformer):
            def visit_Name(inner, node: ast.Name) -> ast.expr:  # noqa: N805 - the name is of ast's choosing
                known = self._figures.get(node.id)
                return node if known is None else ast.Name(f"{known.value:.6g}")

        return ast.unparse(PutIn().visit(tree))
