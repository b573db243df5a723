"""What the tour measured, and how it is printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Step", "TourReport", "duration", "print_fact", "print_label", "print_report"]

_LABEL_WIDTH = 9


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its title, how long it took, and figures by name with the unit in it (``ttft_seconds``)."""

    title: str
    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TourReport:
    """All steps in order; a report exists only when every check passed."""

    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        """How long the steps took together."""
        return sum(step.seconds for step in self.steps)


def print_fact(console: Console, label: str, text: str) -> None:
    """A labelled line. ``text`` may hold anything that a model said or read."""
    grid = Table.grid()
    grid.add_column(width=_LABEL_WIDTH, style="dim")
    grid.add_column()
    grid.add_row(label, Text(text))
    console.print(grid, highlight=False)


def print_label(console: Console, label: str) -> None:
    """The beginning of a line that is then streamed."""
    console.print(f"[dim]{label:<{_LABEL_WIDTH}}[/]", end="")


def print_report(report: TourReport, console: Console) -> None:
    """A table of the steps and their figures."""
    table = Table("Step", "Took", "TTFT", "Tokens/s", "RTF", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for step in report.steps:
        table.add_row(
            step.title,
            duration(step.seconds),
            _figure(step, "ttft_seconds", duration),
            _figure(step, "tokens_per_second", "{:.1f}".format),
            _figure(step, "real_time_factor", "{:.3f}".format),
        )
    console.print(table)
    console.print(
        "TTFT: time to first token. RTF: real-time factor, processing time per second of sound.", style="dim"
    )


def duration(seconds: float) -> str:
    """``12 ms`` or ``3.45 s``."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _figure(step: Step, name: str, form: Callable[[float], str]) -> str:
    value = step.figures.get(name)
    return "" if value is None else form(value)
