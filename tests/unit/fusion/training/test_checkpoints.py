"""Checkpoints: what is written is read back to the bit, and a damaged or half-written one is never gone on from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from fusion.errors import TrainingRefused
from fusion.training.checkpoints import Checkpoint, Checkpoints


def state(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    return Checkpoint(
        step,
        {"seed": 3, "prompts": ["What?"]},
        {"query_tokens": torch.randn(1, 2, 3, generator=generator)},
        {
            "exp_avg.query_tokens": torch.randn(1, 2, 3, generator=generator),
            "step.query_tokens": torch.tensor(2.0),
        },
    )


def test_the_newest_is_read_back_and_only_the_last_few_stay(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "run", keep=2)
    assert kept.newest() is None
    for step in (5, 90, 1000):
        kept.save(state(step))
    assert sorted(folder.name for folder in (tmp_path / "run").iterdir()) == [
        "step-000000090",
        "step-000001000",
    ]
    found = kept.newest()
    assert found is not None
    assert (found.step, dict(found.facts)) == (1000, {"seed": 3, "prompts": ["What?"]})
    for name, tensor in state(1000).weights.items():
        assert torch.equal(found.weights[name], tensor)
    for name, tensor in state(1000).optimizer.items():
        assert torch.equal(found.optimizer[name], tensor)


def test_a_step_saved_again_replaces_the_old_one(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    kept.save(state(5))
    kept.save(Checkpoint(5, {"seed": 4}, {}, {}))
    found = kept.newest()
    assert found is not None
    assert dict(found.facts) == {"seed": 4}


def test_one_half_written_is_not_seen_and_goes_with_the_next(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    kept.save(state(5))
    shutil.copytree(tmp_path / "step-000000005", tmp_path / "unfinished-000000006")
    found = kept.newest()
    assert found is not None
    assert found.step == 5
    kept.save(state(7))
    assert not (tmp_path / "unfinished-000000006").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "run.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_one_is_refused_and_not_passed_over(tmp_path: Path, name: str, damage: str) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    kept.save(state(5))
    kept.save(state(6))
    path = tmp_path / "step-000000006" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(TrainingRefused, match="step 6 is damaged"):
        kept.newest()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingRefused, match="cannot be written"):
        Checkpoints(tmp_path / "file" / "run", keep=1).save(state(1))


def test_cleared_there_is_none(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "run", keep=1)
    kept.save(state(1))
    kept.clear()
    assert kept.newest() is None
