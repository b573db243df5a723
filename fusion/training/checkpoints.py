"""State of a run on disk: weights and optimizer as safetensors, whole or not there at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.errors import TrainingRefused

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "Checkpoints"]

_FORMAT = 1
_NAME = re.compile(r"step-(\d{9})")
_WEIGHTS, _OPTIMIZER, _RUN = "weights.safetensors", "optimizer.safetensors", "run.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a run goes on from after ``step`` steps. ``facts`` say which run it is."""

    step: int
    facts: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]


class Checkpoints:
    """The checkpoints in a folder, the newest few of them."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and then remove old ones. Killed at any time, the one before it stays whole."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        target = self._folder / f"step-{checkpoint.step:09d}"
        unfinished = self._folder / f"unfinished-{checkpoint.step:09d}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for leftover in self._folder.glob("unfinished-*"):
                shutil.rmtree(leftover)
            unfinished.mkdir()
            save_file(_plain(checkpoint.weights), unfinished / _WEIGHTS)
            save_file(_plain(checkpoint.optimizer), unfinished / _OPTIMIZER)
            run = {"format": _FORMAT, "step": checkpoint.step, "facts": checkpoint.facts}
            (unfinished / _RUN).write_text(json.dumps(run, indent=2), encoding="utf-8")
            for path in (*unfinished.iterdir(), unfinished):
                _flush(path)
            if target.exists():
                shutil.rmtree(target)
            unfinished.rename(target)
            _flush(self._folder)
            for _, old in self._found()[: -self._keep]:
                shutil.rmtree(old)
        except (OSError, SafetensorError) as error:
            raise TrainingRefused("The checkpoint cannot be written; is the disk full?") from error

    def newest(self) -> Checkpoint | None:
        """The last one, or None. Raises ``TrainingRefused`` when it cannot be read."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        found = self._found()
        if not found:
            return None
        step, folder = found[-1]
        try:
            run = json.loads((folder / _RUN).read_text(encoding="utf-8"))
            if run["format"] != _FORMAT or run["step"] != step:
                raise ValueError("another format or step")
            return Checkpoint(
                step, dict(run["facts"]), load_file(folder / _WEIGHTS), load_file(folder / _OPTIMIZER)
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise TrainingRefused(
                f"The checkpoint of step {step} is damaged; remove its folder to go on from the one before it."
            ) from error

    def clear(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _found(self) -> list[tuple[int, Path]]:
        """Steps and folders, oldest first."""
        folders = self._folder.iterdir() if self._folder.is_dir() else ()
        matched = ((_NAME.fullmatch(folder.name), folder) for folder in folders)
        return sorted((int(name[1]), folder) for name, folder in matched if name)


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
