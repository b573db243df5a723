"""The file of losses, and their curve."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fusion.training.losses import HeldOut, Losses, StepLoss


def filled(path: Path, steps: int = 4) -> Losses:
    losses = Losses(path)
    for step in range(1, steps + 1):
        losses.add(StepLoss(step, 5.0 / step, 1e-3, 1.0))
        if step % 2 == 0:
            losses.add(HeldOut(step, 6.0 / step, 6.5 / step))
    return losses


def test_what_was_added_is_read_in_order(tmp_path: Path) -> None:
    entries = filled(tmp_path / "run" / "losses.jsonl").read()
    assert [entry.step for entry in entries] == [1, 2, 2, 3, 4, 4]
    assert entries[1] == StepLoss(2, 2.5, 1e-3, 1.0)
    assert entries[2] == HeldOut(2, 3.0, 3.25)
    assert Losses(tmp_path / "none").read() == ()


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "losses.jsonl"
    filled(path)
    path.write_text(path.read_text()[:-9])
    assert [entry.step for entry in Losses(path).read()] == [1, 2, 2, 3, 4]


def test_what_came_after_a_checkpoint_is_forgotten(tmp_path: Path) -> None:
    losses = filled(tmp_path / "losses.jsonl")
    losses.forget_after(2)
    assert [entry.step for entry in losses.read()] == [1, 2, 2]
    losses.forget_after(0)
    assert losses.read() == ()


def test_the_curve_names_all_it_shows_and_long_runs_are_thinned(tmp_path: Path) -> None:
    losses = filled(tmp_path / "losses.jsonl", steps=1000)
    assert losses.draw(tmp_path / "losses.svg", "a run")
    drawn = (tmp_path / "losses.svg").read_text()
    for words in ("a run", "training", "held out, another picture", "loss of a caption"):
        assert words in drawn


def test_without_matplotlib_there_is_no_curve_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not filled(tmp_path / "losses.jsonl").draw(tmp_path / "losses.svg", "a run")
    assert not (tmp_path / "losses.svg").exists()
