"""Whether what was measured is as good as it should be, given how much it varied.

A goal is missed when even the best of the rounds falls short of it: the median falls short by more than the spread
towards the goal. When only the median does, the figure is "within spread": another run may give either. A figure
without rounds (bytes, counts, shares of thousands of answers) has no spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from benchmarks.report import read

__all__ = ["Figure", "Goal", "Judged", "Verdict", "figure_at", "judge", "judge_all"]

EVERY = "*"
"""In a path: all of a mapping's values; the worst of them counts."""


class Verdict(StrEnum):
    """What became of a goal."""

    MET = "met"
    WITHIN_SPREAD = "within spread"
    MISSED = "missed"
    SKIPPED = "skipped"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal of an issue, and where its figure stands.

    ``where`` are the keys in ``results/BENCHMARK.json``. ``direction`` is for the figure: ``within`` is for
    differences from nought, of either sign. ``known_miss`` says why a goal is missed, where that is known.
    """

    name: str
    issue: int
    benchmark: str
    where: tuple[str, ...]
    direction: Literal["at least", "at most", "within"]
    value: float
    unit: str = ""
    peer: str = ""
    known_miss: str = ""
    headline: bool = False

    def reached_by(self, value: float) -> bool:
        """Whether one value is as good as it should be."""
        if self.direction == "at least":
            return value >= self.value
        return (abs(value) if self.direction == "within" else value) <= self.value


@dataclass(frozen=True, slots=True)
class Figure:
    """Median, smallest and largest of so many rounds; one value three times where nothing was repeated."""

    median: float
    smallest: float
    largest: float
    rounds: int = 1

    def best(self, goal: Goal) -> float:
        """The value nearest to, or furthest over, what is wanted."""
        if goal.direction == "at least":
            return self.largest
        if goal.direction == "at most":
            return self.smallest
        return 0.0 if self.smallest <= 0 <= self.largest else min(self.smallest, self.largest, key=abs)


@dataclass(frozen=True, slots=True)
class Judged:
    """A goal, what was measured (``None``: nothing), and what that means; ``why`` nothing was."""

    goal: Goal
    verdict: Verdict
    figure: Figure | None = None
    why: str = ""

    @property
    def times_better(self) -> tuple[float, float, float] | None:
        """How many times better than the goal: median, worst and best round, so that all goals fit in one picture.

        Over 1 is better, whatever the direction. ``None`` without a figure, and for goals of nought.
        """
        if self.figure is None or not self.goal.value:
            return None
        goal, values = self.goal.value, (self.figure.median, self.figure.smallest, self.figure.largest)
        if self.goal.direction == "at least":
            times = [value / goal for value in values]
        else:
            times = [goal / max(abs(value), 1e-9) for value in values]
        return times[0], min(times), max(times)


def figure_at(document: Any, where: tuple[str, ...], goal: Goal) -> Figure:
    """The figure at a path. Raises ``KeyError`` with the path when it is not there."""
    try:
        return _figure_below(document, where, goal)
    except (KeyError, TypeError):
        raise KeyError("/".join(where)) from None


def judge(goal: Goal, document: Mapping[str, Any] | None) -> Judged:
    """Hold a goal against the result of its benchmark; ``None`` for no result at all.

    A result may lack the figure: of a part that was not run, or of a peer that could not be installed.
    """
    if document is None:
        return Judged(goal, Verdict.NOT_MEASURED, why="no results")
    if document.get("status") == "skipped":
        return Judged(goal, Verdict.SKIPPED, why=str(document.get("reason", "")))
    try:
        figure = figure_at(document, goal.where, goal)
    except KeyError as absent:
        return Judged(goal, Verdict.NOT_MEASURED, why=f"the result has no {absent.args[0]}")
    return Judged(goal, _verdict(goal, figure), figure)


def judge_all(goals: tuple[Goal, ...], results: Path) -> list[Judged]:
    """All goals against the results in a folder, in their order."""
    documents = {name: read(name, results) for name in dict.fromkeys(goal.benchmark for goal in goals)}
    return [judge(goal, documents[goal.benchmark]) for goal in goals]


def _verdict(goal: Goal, figure: Figure) -> Verdict:
    if goal.reached_by(figure.median):
        return Verdict.MET
    return Verdict.WITHIN_SPREAD if goal.reached_by(figure.best(goal)) else Verdict.MISSED


def _goodness(figure: Figure, goal: Goal) -> tuple[int, float]:
    """What is missed is worse than a lower median that another run may lift over the goal."""
    order = (Verdict.MISSED, Verdict.WITHIN_SPREAD, Verdict.MET).index(_verdict(goal, figure))
    if goal.direction == "at least":
        return order, figure.median
    return order, -abs(figure.median) if goal.direction == "within" else -figure.median


def _figure_below(here: Any, where: tuple[str, ...], goal: Goal) -> Figure:
    for place, key in enumerate(where):
        if not isinstance(here, Mapping):
            raise KeyError(key)
        if key == EVERY:
            found = [_figure_below(one, where[place + 1 :], goal) for one in here.values()]
            if not found:
                raise KeyError(key)
            return min(found, key=lambda one: _goodness(one, goal))
        here = here[key]
    return _figure(here)


def _figure(value: Any) -> Figure:
    """A summary of rounds, a number, a yes or no (1 or 0), or a list (how many there are)."""
    if isinstance(value, Mapping):
        median = float(value["median"])
        return Figure(
            median,
            float(value.get("min", median)),
            float(value.get("max", median)),
            int(value.get("rounds", 1)),
        )
    if isinstance(value, list):
        value = len(value)
    if not isinstance(value, int | float):
        raise TypeError(type(value))
    return Figure(float(value), float(value), float(value))
