"""The losses of a run: JSON lines while it runs, a picture of the curve for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

__all__ = ["HeldOut", "Losses", "StepLoss"]

_CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class StepLoss:
    """After step ``step`` (from 1): the mean loss of a caption's token, in nats, and how the step went."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True, slots=True)
class HeldOut:
    """After step ``step``: the loss of captions of pictures never trained on, and of the same captions beside the
    soft tokens of another such picture. The second is the larger by what the bridge tells of the picture.
    """

    step: int
    held_out_loss: float
    wrong_picture_loss: float


Entry = StepLoss | HeldOut


class Losses:
    """The file of losses. Written at once, so that a killed run lost none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, entry: Entry) -> None:
        """Append one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))

    def read(self) -> tuple[Entry, ...]:
        """All of them; a last line cut off by a kill is left out."""
        if not self._path.is_file():
            return ()
        entries: list[Entry] = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                fields = json.loads(line)
                entries.append(HeldOut(**fields) if "held_out_loss" in fields else StepLoss(**fields))
            except (ValueError, TypeError):
                continue
        return tuple(entries)

    def forget_after(self, step: int) -> None:
        """Remove what came after a checkpoint that the run goes on from."""
        lines = [_line(entry) for entry in self.read() if entry.step <= step]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_name(f"{self._path.name}.unfinished")
        unfinished.write_text("".join(lines), encoding="utf-8")
        unfinished.replace(self._path)  # whole at any time

    def draw(self, path: Path, title: str) -> bool:
        """Write the curve as SVG. False when matplotlib is not installed: the losses themselves are in the file."""
        try:
            import matplotlib as mpl
        except ModuleNotFoundError:
            return False
        mpl.use("svg")
        mpl.rcParams["svg.fonttype"] = "none"
        from matplotlib import pyplot

        entries = self.read()
        steps = [entry for entry in entries if isinstance(entry, StepLoss)]
        held = [entry for entry in entries if isinstance(entry, HeldOut)]
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        axes.plot(*_thinned(steps), color="#4878a8", label="training")
        if held:
            at = [entry.step for entry in held]
            axes.plot(at, [entry.held_out_loss for entry in held], "o-", color="#b04040", label="held out")
            wrong = [entry.wrong_picture_loss for entry in held]
            axes.plot(at, wrong, "o--", color="#c0a060", label="held out, another picture's tokens")
        axes.set_xlabel("step")
        axes.set_ylabel("loss of a caption's token (nats)")
        axes.set_title(title)
        axes.legend()
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
        return True


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"


def _thinned(steps: Iterable[StepLoss]) -> tuple[list[float], list[float]]:
    """Means of equal stretches: at most ``_CURVE_POINTS`` points."""
    points = list(steps)
    size = max(1, -(-len(points) // _CURVE_POINTS))
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    return (
        [fmean(point.step for point in stretch) for stretch in stretches],
        [fmean(point.loss for point in stretch) for stretch in stretches],
    )
