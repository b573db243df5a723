"""All benchmarks, one after the other, then one table of every goal: ``make bench`` (``make bench-gpu`` on a GPU).

Each runs beside its peer in a process of its own and writes ``benchmarks/results/NAME.json``; what fails or takes
too long is said at the end, and the others still run. Give names to run only those.

Exit code: 0 when every goal is met, or short by no more than the measured spread; 1 when a benchmark failed, or a
goal is missed that was not known to be; 3 when all that is missed was known to be, with its reason, before.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import by_family, measured, number, plot
from benchmarks.goals import GOALS
from benchmarks.judgement import Judged, Verdict, judge_all
from benchmarks.report import RESULTS, write
from benchmarks.runner import Run, run
from benchmarks.suite import SUITE, Benchmark, missing

QUICK_RESULTS = Path("dist") / "bench-quick"
_COLOURS = {
    Verdict.MET: "green",
    Verdict.WITHIN_SPREAD: "yellow",
    Verdict.MISSED: "bold red",
    Verdict.SKIPPED: "dim",
    Verdict.NOT_MEASURED: "dim",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, print the table, write ``results/summary.json`` and the pictures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (see --list)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="the same as naming them")
    parser.add_argument("--gpu", action="store_true", help="those for a GPU")
    parser.add_argument(
        "--quick", action="store_true", help=f"show that they run: few rounds, into {QUICK_RESULTS}"
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--judge", action="store_true", help="run nothing: the table of the results at hand")
    given = parser.parse_args(arguments)
    names = [*given.names, *given.only]
    unknown = sorted(set(names) - {one.name for one in SUITE})
    if unknown:
        parser.error(f"no benchmark is named {', '.join(unknown)}; --list says which there are")
    chosen = _chosen(names, given.gpu)
    if given.list:
        _list(chosen)
        return 0
    results = QUICK_RESULTS.resolve() if given.quick else RESULTS
    runs = [] if given.judge else [_run(one, results, given.quick) for one in chosen]
    # A run of some is judged by these; all that is at hand is in the pictures.
    wanted = {one.name for one in chosen} if names or given.quick or given.gpu else None
    judged = judge_all(tuple(goal for goal in GOALS if wanted is None or goal.benchmark in wanted), results)
    _tell(judged, runs)
    if given.quick:
        print(f"A quick run measures too little to be held against goals; its results are in {results}.")
        return 1 if _failed(runs) else 0
    if not given.judge:
        everything = judge_all(GOALS, results)
        plot(everything)
        print(f"Written to {write('summary', summary(everything, runs))}")
    return verdict(judged, runs)


def verdict(judged: Sequence[Judged], runs: Sequence[Run]) -> int:
    """The exit code."""
    missed = [one for one in judged if one.verdict is Verdict.MISSED]
    ran = {one.name for one in runs if one.outcome == "measured"}
    lacking = [one for one in judged if one.verdict is Verdict.NOT_MEASURED and one.goal.benchmark in ran]
    if _failed(runs) or lacking or any(not one.goal.known_miss for one in missed):
        return 1
    return 3 if missed else 0


def summary(judged: Sequence[Judged], runs: Sequence[Run]) -> dict[str, object]:
    """What is written: every goal, its figure, its verdict; and how long each benchmark took."""
    return {
        "goals": [
            {
                "name": one.goal.name,
                "issue": one.goal.issue,
                "benchmark": one.goal.benchmark,
                "beside": one.goal.peer,
                "goal": f"{one.goal.direction} {one.goal.value:g}",
                "verdict": str(one.verdict),
                "median": one.figure.median if one.figure else None,
                "known_miss": one.goal.known_miss,
            }
            for one in judged
        ],
        "runs": {
            one.name: {"outcome": one.outcome, "seconds": round(one.seconds), "why": one.why} for one in runs
        },
    }


def _chosen(names: Sequence[str], gpu: bool) -> list[Benchmark]:
    if names:
        return [one for one in SUITE if one.name in names]
    return [one for one in SUITE if ("gpu" in one.needs) is gpu]


def _run(benchmark: Benchmark, results: Path, quick: bool) -> Run:
    reason = missing(benchmark)
    if quick and benchmark.quick is None:
        reason = "reads what full runs have measured"
    if reason:
        print(f"== {benchmark.name}: skipped, {reason}", flush=True)
        return Run(benchmark.name, "skipped", why=reason)
    command = [*benchmark.command, *((benchmark.quick or ()) if quick else ())]
    print(f"== {benchmark.name}: {benchmark.title} (at most {benchmark.limit_seconds // 60} min)", flush=True)
    path = results / f"{benchmark.name}.json"
    environment = {"MANYMODAL_BENCH_RESULTS": str(results)}
    return run(benchmark.name, command, path, benchmark.limit_seconds, environment)


def _failed(runs: Sequence[Run]) -> list[Run]:
    return [one for one in runs if one.outcome in ("failed", "too slow")]


def _list(chosen: Sequence[Benchmark]) -> None:
    table = Table("name", "what", "at most", "needs", "goals", title="Benchmarks")
    for one in chosen:
        goals = sum(goal.benchmark == one.name for goal in GOALS)
        table.add_row(one.name, one.title, f"{one.limit_seconds // 60} min", ", ".join(one.needs), str(goals))
    _console().print(table)


def _tell(judged: Sequence[Judged], runs: Sequence[Run]) -> None:
    table = Table("issue", "what", "beside", "goal", "measured", "verdict", title="Goals")
    new = {one.name for one in runs if one.outcome == "measured"}
    for family, ones in by_family(judged).items():
        table.add_section()
        table.add_row("", f"[bold]{family}[/]", "", "", "", "")
        for one in ones:
            goal = one.goal
            word = (
                f"{one.verdict} (known)" if one.verdict is Verdict.MISSED and goal.known_miss else one.verdict
            )
            if runs and one.figure and goal.benchmark not in new:
                word = f"{word}, of an earlier run"
            colour = _COLOURS[one.verdict]
            wanted = f"{goal.direction} {number(goal.value)} {goal.unit}"
            figure = measured(one).split(":")[0] if one.figure else one.why
            table.add_row(str(goal.issue), goal.name, goal.peer, wanted, figure, f"[{colour}]{word}[/]")
    _console().print(table)
    for ended in runs:
        print(
            f"{ended.name}: {ended.outcome} after {ended.seconds:.0f} s"
            + (f", {ended.why}" if ended.why else "")
        )


def _console() -> Console:
    wide = None if sys.stdout.isatty() else 200
    return Console(width=wide, no_color="NO_COLOR" in os.environ or None)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is stopped too
    sys.exit(main())
