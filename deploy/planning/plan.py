"""The plan of a load."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.planning.cost import add_cost
from deploy.planning.index import add_index, add_rows
from deploy.planning.load import Load
from deploy.planning.pools import add_demand, add_pools, add_readers
from deploy.planning.sheet import Figure, Sheet
from deploy.planning.storage import add_storage

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """All figures in the order they follow from each other, and the kind of index."""

    load: Load
    index_kind: str
    figures: tuple[Figure, ...]

    def __getitem__(self, name: str) -> float:
        """The value of the figure of this name; ``KeyError`` when there is none."""
        for figure in self.figures:
            if figure.name == name:
                return figure.value
        raise KeyError(name)


def make_plan(load: Load) -> Plan:
    """Compute the plan. Raises ``UnusablePlan`` when the load names a model of which no rate is known."""
    sheet = Sheet()
    add_rows(sheet, load)
    kind = add_index(sheet, load)
    add_storage(sheet, load, kind)
    add_demand(sheet, load)
    add_pools(sheet, load)
    add_readers(sheet, load, kind)
    add_cost(sheet, load)
    return Plan(load, kind, tuple(sheet))
