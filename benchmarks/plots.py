"""Pictures beside the JSON of the same name: medians with their spread, how near goals are, counts over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS

__all__ = ["bars", "dots", "steps"]

Spread = tuple[float, float, float]
_AXIS_END = 3.0


def bars(name: str, title: str, unit: str, series: Mapping[str, Spread], goal: float | None = None) -> Path:
    """Write ``benchmarks/results/NAME.svg``: for each label (median, smallest, largest), and the goal as a line."""
    pyplot = _pyplot()
    labels = list(series)
    medians = [series[label][0] for label in labels]
    below = [max(0.0, median - series[label][1]) for label, median in zip(labels, medians, strict=True)]
    above = [max(0.0, series[label][2] - median) for label, median in zip(labels, medians, strict=True)]
    figure, axes = pyplot.subplots(figsize=(7, 0.55 * len(labels) + 1.4), layout="constrained")
    drawn = axes.barh(labels, medians, xerr=(below, above), color="#4878a8", ecolor="#333333", capsize=3)
    axes.bar_label(drawn, fmt="%.3g", padding=6)
    if goal is not None:
        axes.axvline(goal, color="#b04040", linestyle="--", label=f"goal {goal:g}")
        axes.legend(loc="lower right")
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(title)
    axes.set_xlabel(f"{unit}; bars are medians, whiskers the smallest and largest round")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def dots(name: str, title: str, rows: Sequence[tuple[str, Spread, str]]) -> Path:
    """Write ``benchmarks/results/NAME.svg``: labels with (median, worst, best) over their goals, and a mark.

    The axis is logarithmic and ends where a goal is met or missed three times over. Marks are ``met``, ``edge`` and
    ``missed``, told apart by shape as well as by colour.
    """
    pyplot = _pyplot()
    shapes = {
        "met": ("o", "#2f6b9a", "#2f6b9a"),
        "edge": ("o", "white", "#b07000"),
        "missed": ("X", "#b03030", "#b03030"),
    }
    figure, axes = pyplot.subplots(figsize=(10, 0.32 * len(rows) + 1.2), layout="constrained")
    axes.axvline(1.0, color="#555555", linestyle="--", linewidth=1)
    for place, (_, spread, mark) in enumerate(rows):
        median, worst, best = (min(max(one, 1 / _AXIS_END), _AXIS_END) for one in spread)
        shape, face, edge = shapes[mark]
        axes.plot(
            [worst, best], [place, place], color="#888888", linewidth=2, solid_capstyle="butt", zorder=1
        )
        beyond = ">" if spread[0] > _AXIS_END else shape
        axes.plot(
            [median], [place], beyond, markerfacecolor=face, markeredgecolor=edge, markersize=8, zorder=2
        )
    axes.set_xscale("log")
    axes.set_xlim(0.92 / _AXIS_END, 1.08 * _AXIS_END)
    ticks = (1 / 3, 0.5, 0.75, 1, 1.5, 2, 3)
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title)
    axes.set_xlabel("times better than the goal")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def steps(
    name: str,
    title: str,
    unit: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    load: tuple[str, Sequence[float], Sequence[float]],
) -> Path:
    """Write ``benchmarks/results/NAME.svg``: counts over seconds for each label, the load on an axis of its own."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    for label, (seconds, counts) in series.items():
        axes.step(seconds, counts, where="post", label=label)
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.set_xlabel("seconds")
    axes.set_ylabel(unit)
    words, seconds, rates = load
    beside = axes.twinx()
    beside.fill_between(seconds, rates, step="post", color="#999999", alpha=0.25, label=words)
    beside.set_ylim(bottom=0)
    beside.set_ylabel(words)
    axes.legend(loc="upper left")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "manymodal"  # the same figures give the same file
    mpl.rcParams["svg.fonttype"] = "none"  # letters as letters: a tenth of the size
    from matplotlib import pyplot

    return pyplot
