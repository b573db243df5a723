"""Goals held against made-up results, and against those that are committed."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import _tell, summary, verdict
from benchmarks.figures import README, number, readme_block, table, with_figures
from benchmarks.goals import FAMILIES, GOALS
from benchmarks.judgement import EVERY, Goal, Verdict, figure_at, judge, judge_all
from benchmarks.report import COMMITTED, read
from benchmarks.runner import Run
from benchmarks.suite import SUITE

SPEED = Goal("speed", 9, "made-up", ("ratio",), "at least", 0.9, peer="a peer")
WAIT = Goal("wait", 9, "made-up", ("ratio",), "at most", 1.2, peer="a peer")
APART = Goal("difference", 9, "made-up", ("ratio",), "within", 0.15)


def _rounds(median: float, smallest: float, largest: float) -> dict[str, Any]:
    return {"ratio": {"median": median, "min": smallest, "max": largest, "rounds": 5}}


@pytest.mark.parametrize(
    ("goal", "result", "verdict_"),
    [
        (SPEED, _rounds(0.95, 0.5, 1.0), Verdict.MET),
        (SPEED, _rounds(0.9, 0.9, 0.9), Verdict.MET),
        (SPEED, _rounds(0.89, 0.8, 0.91), Verdict.WITHIN_SPREAD),
        (SPEED, _rounds(0.89, 0.1, 0.8999), Verdict.MISSED),  # a slow outlier excuses nothing
        (WAIT, _rounds(1.1, 0.9, 3.0), Verdict.MET),
        (WAIT, _rounds(1.25, 1.19, 3.0), Verdict.WITHIN_SPREAD),
        (WAIT, _rounds(1.25, 1.21, 1.3), Verdict.MISSED),
        (APART, _rounds(-0.1, -0.2, 0.0), Verdict.MET),
        (APART, _rounds(-0.2, -0.3, -0.16), Verdict.MISSED),
        (APART, _rounds(0.2, -0.3, 0.3), Verdict.WITHIN_SPREAD),
        (SPEED, {"ratio": 0.89}, Verdict.MISSED),  # one figure has no spread
        (SPEED, {"ratio": True}, Verdict.MET),
        (Goal("none", 9, "made-up", ("ratio",), "at most", 0), {"ratio": ["something"]}, Verdict.MISSED),
        (Goal("none", 9, "made-up", ("ratio",), "at most", 0), {"ratio": []}, Verdict.MET),
        (SPEED, {"status": "skipped", "reason": "no GPU"}, Verdict.SKIPPED),
        (SPEED, {"other": 1}, Verdict.NOT_MEASURED),
        (SPEED, None, Verdict.NOT_MEASURED),
    ],
)
def test_a_goal_is_missed_when_no_round_reaches_it(goal: Goal, result: Any, verdict_: Verdict) -> None:
    assert judge(goal, result).verdict is verdict_


def test_of_every_part_the_worst_counts() -> None:
    document = {"parts": {"a": {"share": 0.95}, "b": {"share": 0.85}, "c": {"share": 0.99}}}
    goal = Goal("share", 9, "made-up", ("parts", EVERY, "share"), "at least", 0.9)
    assert figure_at(document, goal.where, goal).median == 0.85
    most = Goal("share", 9, "made-up", ("parts", EVERY, "share"), "at most", 0.9)
    assert figure_at(document, most.where, most).median == 0.99
    with pytest.raises(KeyError, match="parts/\\*/other"):
        figure_at(document, ("parts", EVERY, "other"), goal)
    with pytest.raises(KeyError):
        figure_at({"parts": {}}, goal.where, goal)


def test_a_part_that_is_missed_is_not_hidden_by_one_that_varies_more() -> None:
    parts = {"varies": _rounds(0.85, 0.7, 0.95), "misses": _rounds(0.87, 0.86, 0.88)}
    goal = Goal("share", 9, "made-up", ("parts", EVERY, "ratio"), "at least", 0.9)
    judged = judge(goal, {"parts": parts})
    assert judged.verdict is Verdict.MISSED
    assert judged.figure is not None
    assert judged.figure.median == 0.87


@given(
    st.lists(st.floats(0.01, 10), min_size=1, max_size=9), st.sampled_from([SPEED, WAIT]), st.floats(0.01, 10)
)
def test_better_rounds_never_give_a_worse_verdict(rounds: list[float], goal: Goal, more: float) -> None:
    order = [Verdict.MISSED, Verdict.WITHIN_SPREAD, Verdict.MET]
    up = 1 if goal is SPEED else -1

    def judged(values: list[float]) -> int:
        median = sorted(values)[len(values) // 2]
        return order.index(judge(goal, _rounds(median, min(values), max(values))).verdict)

    assert judged([value + up * min(more, value / 2) for value in rounds]) >= judged(rounds)


def test_the_exit_code_tells_new_misses_from_known_ones_and_from_failures() -> None:
    known = Goal("wait", 9, "made-up", ("ratio",), "at most", 1.2, known_miss="it is so")
    met, missed = judge(SPEED, _rounds(1, 1, 1)), judge(SPEED, _rounds(0.1, 0.1, 0.1))
    known_missed, edge = judge(known, _rounds(2, 2, 2)), judge(SPEED, _rounds(0.8, 0.7, 1.0))
    assert verdict([met, edge], []) == 0
    assert verdict([met, known_missed], []) == 3
    assert verdict([missed, known_missed], []) == 1
    assert verdict([met], [Run("made-up", "failed")]) == 1
    assert verdict([met], [Run("made-up", "too slow")]) == 1
    assert verdict([met], [Run("made-up", "skipped")]) == 0
    assert (
        verdict([judge(SPEED, {})], [Run("made-up", "measured")]) == 1
    )  # it ran, and the figure is not there
    assert verdict([judge(SPEED, None)], []) == 0
    told = summary([missed], [Run("made-up", "measured", 12.4)])
    assert told["runs"] == {"made-up": {"outcome": "measured", "seconds": 12, "why": ""}}


def test_the_table_says_which_figures_are_of_earlier_runs(capsys: pytest.CaptureFixture[str]) -> None:
    goal = Goal("speed", 9, "cache", ("ratio",), "at least", 0.9)
    for outcome, is_old in (("measured", False), ("skipped", True), ("failed", True)):
        _tell([judge(goal, {"ratio": 1})], [Run("cache", outcome)])
        assert ("met, of an earlier run" in capsys.readouterr().out) is is_old


# -- what is committed ------------------------------------------------------------------------------------


def test_every_goal_has_its_figure_in_the_committed_results() -> None:
    for goal in GOALS:
        document = read(goal.benchmark, COMMITTED)
        assert document is not None, f"{goal.benchmark}.json is not committed"
        if document.get("status") != "skipped":
            figure_at(document, goal.where, goal)  # raises with the path


def test_no_committed_miss_is_hidden() -> None:
    """A goal that is missed says so in its own words, so that it stands in every table."""
    unsaid = [
        f"{one.goal.benchmark}: {one.goal.name}"
        for one in judge_all(GOALS, COMMITTED)
        if one.verdict is Verdict.MISSED and not one.goal.known_miss
    ]
    assert unsaid == []


def test_goals_benchmarks_and_families_go_together() -> None:
    names = [one.name for one in SUITE]
    assert len(names) == len(set(names))
    listed = [name for family in FAMILIES.values() for name in family]
    assert len(listed) == len(set(listed))
    assert {goal.benchmark for goal in GOALS} == set(listed) <= set(names)
    assert len({(goal.name, goal.peer, goal.benchmark) for goal in GOALS}) == len(GOALS)
    assert all(goal.issue in range(2, 10) and math.isfinite(goal.value) for goal in GOALS)
    # Neither a benchmark without a goal but for those that only describe, nor one without a module.
    assert set(names) - set(listed) == {"gpu_fusion"}
    folder = Path(COMMITTED).parent
    assert all((folder / f"{one.module or one.name}.py").exists() for one in SUITE)


def test_every_benchmark_of_the_makefile_is_in_the_suite_and_back() -> None:
    recipes = (README.parent / "Makefile").read_text("utf-8")
    modules = set(re.findall(r"-m benchmarks\.(\w+)", recipes)) - {"figures"}
    assert modules == {one.module or one.name for one in SUITE}


def test_every_committed_result_has_a_benchmark() -> None:
    names = {one.name for one in SUITE} | {"summary"}
    assert {path.stem for path in COMMITTED.glob("*.json")} <= names


# -- the table in README ----------------------------------------------------------------------------------


def test_readme_shows_what_is_measured() -> None:
    text = README.read_text("utf-8")
    assert with_figures(text, readme_block()) == text, "run `make figures`"


def test_a_readme_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="figures"):
        with_figures("no marks", "block")
    assert with_figures("a <!-- figures --> old <!-- /figures --> z", "NEW") == "a NEW z"


def test_a_table_says_what_is_missed_and_never_rounds_a_miss_into_a_hit() -> None:
    known = Goal("wait", 9, "made-up", ("ratio",), "at most", 1.2, peer="a peer", known_miss="it is so")
    rows = table(
        [judge(WAIT, _rounds(1.2027, 1.1, 1.3)), judge(known, _rounds(1.25, 1.21, 1.3))]
    ).splitlines()
    assert rows[2].endswith("| <= 1.2x | 1.2027x (1.1 to 1.3): not met, within the spread |")
    assert rows[3].endswith("| <= 1.2x | 1.25x (1.21 to 1.3): **missed**; it is so |")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (4594.86, "4,595"),
        (0.999997, "0.999997"),
        (0.9155, "0.915"),
        (20.0, "20"),
        (999.7, "1,000"),
        (-0.0372, "-0.0372"),
        (0, "0"),
    ],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown
