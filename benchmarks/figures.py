"""What was measured, as tables and pictures: for the documents, for README, and for the end of ``make bench``.

``python -m benchmarks.figures`` prints the tables; ``--write`` puts the short one into README between its marks and
draws ``results/goals-FAMILY.svg``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.goals import FAMILIES, GOALS
from benchmarks.judgement import Judged, Verdict, judge_all
from benchmarks.plots import dots
from benchmarks.report import COMMITTED, RESULTS, read

__all__ = ["by_family", "headlines", "machines", "measured", "plot", "readme_block", "table", "with_figures"]

README = Path(__file__).resolve().parent.parent / "README.md"
_BEGIN, _END = "<!-- figures -->", "<!-- /figures -->"
_DIRECTIONS = {"at least": ">=", "at most": "<=", "within": "within"}
_MARKS = {Verdict.MET: "met", Verdict.WITHIN_SPREAD: "edge", Verdict.MISSED: "missed"}
_WORDS = {Verdict.WITHIN_SPREAD: "not met, within the spread", Verdict.MISSED: "**missed**"}


def by_family(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """What was judged, by what it is about; families of which there is nothing are left out."""
    found = {
        family: [one for one in judged if one.goal.benchmark in names] for family, names in FAMILIES.items()
    }
    return {family: ones for family, ones in found.items() if ones}


def headlines(judged: Sequence[Judged]) -> list[Judged]:
    """Those for a short table: the headlines, and every goal that is missed or only within the spread."""
    short = (Verdict.MISSED, Verdict.WITHIN_SPREAD)
    return [one for one in judged if one.goal.headline or one.verdict in short]


def table(judged: Sequence[Judged], *, issues: bool = False) -> str:
    """A Markdown table, a goal a line."""
    head = ["what", "beside", "goal", "measured"] + ["issue"] * issues
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for one in judged:
        goal = one.goal
        wanted = f"{_DIRECTIONS[goal.direction]} {number(goal.value)}{_unit(one)}"
        cells = [goal.name, goal.peer, wanted, measured(one)] + [str(goal.issue)] * issues
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measured(one: Judged) -> str:
    """The figure with its spread, and a word where the goal is not met."""
    if one.figure is None:
        return f"{one.verdict}: {one.why}" if one.why else str(one.verdict)
    figure = one.figure
    shown = number(figure.median)
    if one.verdict is not Verdict.MET and shown == number(one.goal.value):
        shown = f"{figure.median:.5g}"  # 1.203 is not 1.2
    text = f"{shown}{_unit(one)}"
    spread = f" ({number(figure.smallest)} to {number(figure.largest)})" if figure.rounds > 1 else ""
    if one.verdict is Verdict.MET:
        return text + spread
    why = f"; {one.goal.known_miss}" if one.goal.known_miss else ""
    return f"{text}{spread}: {_WORDS[one.verdict]}{why}"


def number(value: float) -> str:
    """Three digits that matter, thousands apart, whole numbers as such."""
    if value == round(value) or abs(value) >= 999.5:  # three digits of these would be 1e+03
        return f"{value:,.0f}"
    if 0.99 < abs(value) < 1:  # shares of many nines
        return f"{value:.6f}".rstrip("0")
    return f"{value:.3g}"


def readme_block(results: Path = COMMITTED) -> str:
    """What stands between README's marks, the marks included."""
    judged = judge_all(GOALS, results)
    missed = sum(one.verdict is Verdict.MISSED for one in judged)
    spread = sum(one.verdict is Verdict.WITHIN_SPREAD for one in judged)
    figures = sum(one.figure is not None for one in judged)
    return (
        f"{_BEGIN}\n\n"
        f"Measured on {machines(results)}.\n"
        "Medians, with the smallest and largest round; x is a ratio to what stands beside it, in the same run.\n"
        f"Of {figures} goals with figures {missed} are missed and {spread} are met by some rounds only; all these\n"
        "stand here, the others in [docs/benchmarks.md](docs/benchmarks.md). `make figures` writes this from\n"
        "[benchmarks/results](benchmarks/results).\n\n"
        f"{table(headlines(judged))}\n\n{_END}"
    )


def machines(results: Path = COMMITTED) -> str:
    """In words: what the results were measured on."""
    found = []
    for name in dict.fromkeys(goal.benchmark for goal in GOALS):
        document = read(name, results)
        if document is not None and document.get("status") != "skipped":
            one = document["machine"]
            found.append(f"{one['cores']} cores ({one['processor']}), {one['memory_gib']:.0f} GiB")
    return ", and on ".join(dict.fromkeys(found))


def with_figures(text: str, block: str) -> str:
    """README with another block between its marks. Raises ``ValueError`` when the marks are missing."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"README has no {_BEGIN} ... {_END}.")
    return before + block + after


def plot(judged: Sequence[Judged]) -> list[Path]:
    """Draw for each family how near its figures come to their goals; goals of nought have no place. The paths."""
    drawn = []
    for family, ones in by_family(judged).items():
        rows = [
            (
                f"{one.goal.name}{', beside ' if one.goal.peer else ''}{one.goal.peer}",
                times,
                _MARKS[one.verdict],
            )
            for one in ones
            if (times := one.times_better) is not None
        ]
        if rows:
            drawn.append(dots(f"goals-{family.lower().replace(' ', '-')}", family, rows))
    return drawn


def _unit(one: Judged) -> str:
    if one.goal.unit:
        return f" {one.goal.unit}" if not one.goal.unit.startswith("/") else one.goal.unit
    return "x" if one.goal.peer and one.goal.direction != "within" and one.goal.value != 0 else ""


def main() -> int:
    """Print all tables; with ``--write`` bring README and the pictures up to date."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true", help="README's block and the pictures")
    given = options.parse_args()
    judged = judge_all(GOALS, RESULTS)
    for family, ones in by_family(judged).items():
        print(f"## {family}\n\n{table(ones, issues=True)}\n")
    if given.write:
        README.write_text(with_figures(README.read_text("utf-8"), readme_block()), "utf-8")
        for path in plot(judged):
            print(f"Drawn: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
