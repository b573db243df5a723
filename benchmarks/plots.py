"""Two kinds of pictures beside the JSON of the same name: medians with their spread, and counts over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS

__all__ = ["bars", "steps"]

Spread = tuple[float, float, float]


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
