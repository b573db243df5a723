"""Goals with what was measured, and the pictures of each benchmark, made of ``benchmarks/results``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import by_family, table
from benchmarks.goals import GOALS
from benchmarks.judgement import judge_all
from benchmarks.report import COMMITTED, read

__all__ = ["goals", "pictures"]

_GOALS_PICTURE = "goals-"


def goals() -> str:
    """A table for each family of benchmarks, with its picture and the days on which it was measured."""
    parts = []
    for family, judged in by_family(judge_all(GOALS, COMMITTED)).items():
        days = sorted({day for one in judged if (day := _day(one.goal.benchmark))})
        parts.append(f"### {family}")
        if days:
            parts.append(f"Measured {' to '.join(dict.fromkeys((days[0], days[-1])))}.")
        picture = COMMITTED / f"{_GOALS_PICTURE}{family.lower().replace(' ', '-')}.svg"
        if picture.exists():
            parts.append(_picture(picture, f"{family}: each figure as a share of its goal"))
        parts.append(table(judged, issues=True))
    return "\n\n".join(parts)


def pictures() -> str:
    """The pictures that benchmarks draw of themselves, with the machine they ran on."""
    parts = []
    for picture in sorted(COMMITTED.glob("*.svg")):
        if picture.name.startswith(_GOALS_PICTURE):
            continue
        result = _result_of(picture)
        parts.append(f"### {picture.stem.replace('_', ' ').replace('-', ': ')}")
        parts.append(_picture(picture, f"Plot of the benchmark {picture.stem}"))
        machine = (read(result.stem, COMMITTED) or {}).get("machine", {})
        parts.append(
            f"Measured {_day(result.stem)} on {machine.get('processor', '?')}, {machine.get('cores', '?')} cores. "
            f"Every figure: [{result.name}](../benchmarks/results/{result.name})."
        )
    return "\n\n".join(parts)


def _result_of(picture: Path) -> Path:
    """The results that a picture is of: a benchmark may have several pictures."""
    for stem in (picture.stem, picture.stem.partition("-")[0]):
        if (COMMITTED / f"{stem}.json").exists():
            return COMMITTED / f"{stem}.json"
    raise FileNotFoundError(f"{picture.name} is of no results")


def _picture(picture: Path, words: str) -> str:
    return f"![{words}](../benchmarks/results/{picture.name})"


def _day(benchmark: str) -> str:
    return str((read(benchmark, COMMITTED) or {}).get("measured_at", ""))[:10]
