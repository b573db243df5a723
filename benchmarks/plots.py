"""One kind of picture: bars of medians with the spread of the rounds, beside the JSON of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.report import RESULTS

__all__ = ["bars"]

Spread = tuple[float, float, float]


def bars(name: str, title: str, unit: str, series: Mapping[str, Spread], goal: float | None = None) -> Path:
    """Write ``benchmarks/results/NAME.svg``: for each label (median, smallest, largest), and the goal as a line."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "manymodal"  # the same figures give the same file
    mpl.rcParams["svg.fonttype"] = "none"  # letters as letters: a tenth of the size
    from matplotlib import pyplot

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
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
