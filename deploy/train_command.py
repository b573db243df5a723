"""``manymodal train-bridge``: a bridge from a vision model to a chat model, learned from pictures with captions."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.command_options import AsJson, ModelsDir, Profile
from deploy.given_settings import given_settings
from encoders.config import EncoderConfig

if TYPE_CHECKING:
    from fusion.training.config import RunFolder
    from fusion.training.losses import HeldOut, StepLoss
    from fusion.training.run import Outcome

__all__ = ["train_bridge"]

_console = Console(stderr=True)


def train_bridge(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS.jsonl", help='Lines like {"image": "a.jpg", "caption": "A dog on a beach."}.'
        ),
    ],
    vision: Annotated[
        str, typer.Option(help="The vision model: a CLIP, SigLIP, ViT or BLIP-2 folder or name.")
    ],
    name: Annotated[str, typer.Option(help="The bridge's name: its folder among the models.")],
    decoder: Annotated[str | None, typer.Option(help="The chat model (default: the profile's).")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that the list's paths start from (default: the list's).")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps in all.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 16,
    micro_batch: Annotated[
        int, typer.Option(min=0, help="So many of them at a time, for less memory (0: all).")
    ] = 0,
    learning_rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 3e-4,
    warmup_steps: Annotated[int, typer.Option(min=0, help="Steps until it is reached.")] = 50,
    queries: Annotated[int, typer.Option(min=1, help="Soft tokens of a picture.")] = 32,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the Q-Former.")] = 6,
    width: Annotated[int, typer.Option(min=1, help="Width of the Q-Former.")] = 384,
    heads: Annotated[int, typer.Option(min=1, help="Attention heads of the Q-Former.")] = 6,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.99, help="Dropout in the Q-Former.")] = 0.1,
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the pictures that is never trained on.")
    ] = 0.1,
    prompt: Annotated[
        list[str] | None, typer.Option(help="A question that captions answer; give several (default: four).")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything that is drawn by lot.")] = 0,
    restart: Annotated[bool, typer.Option(help="Begin anew, forgetting the run's checkpoints.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda (default: the profile's).")] = None,
    profile: Profile = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Data folder; the run lies in training/NAME of it.")
    ] = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Train a Q-Former and a projection; vision model and chat model stay as they are.

    Ctrl-C saves and stops; the same command goes on. The bridge then lies among the models.
    """
    settings = given_settings(profile=profile, data_dir=data_dir, models_dir=models_dir)
    # Imported here and not above: showing a help text must not wait for torch.
    from transformers.utils import logging

    from fusion.training.config import PROMPTS, BridgeShape, RunFolder, TrainingConfig
    from fusion.training.run import Reporter, Wanted
    from fusion.training.run import train_bridge as train

    try:
        config = TrainingConfig(
            steps=steps,
            batch_size=batch_size,
            micro_batch=micro_batch,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            dropout=dropout,
            held_out=held_out,
            checkpoint_every=checkpoint_every,
            seed=seed,
            prompts=tuple(prompt or PROMPTS),
            shape=BridgeShape(queries, layers, width, heads),
        )
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None
    if device not in (None, "auto", "cpu", "cuda"):
        raise typer.BadParameter("--device is auto, cpu or cuda.")
    encoders = EncoderConfig(
        models_dir=settings.models_dir,
        threads=settings.encoders.threads,
        device=device or settings.encoders.device,
        limits=settings.decoding,
    )
    wanted = Wanted(name, vision, decoder or settings.chat.model, pairs, images)
    folder = RunFolder(settings.make_data_dir() / "training" / name)
    logging.disable_progress_bar()  # its bars would tear ours
    with _progress(steps) as show, _stopping() as asked:
        reporter = Reporter(show.encoded, show.entry, lambda said: _console.print(said, highlight=False))
        outcome = train(wanted, config, encoders, folder, reporter, asked.is_set, restart)
    if as_json:
        typer.echo(json.dumps({"losses": str(folder.losses), **asdict(outcome)}, default=str, indent=2))
    else:
        _tell(outcome, folder)


class _Show:
    """Two bars: pictures encoded, steps with the newest losses."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self._progress = progress
        self._encoding = progress.add_task("pictures", total=None, facts="", visible=False)
        self._training = progress.add_task("steps", total=steps, facts="", visible=False)
        self._held_out = ""

    def encoded(self, done: int, of: int) -> None:
        """So many pictures have their tokens."""
        self._progress.update(self._encoding, completed=done, total=of, visible=True)

    def entry(self, entry: StepLoss | HeldOut) -> None:
        """A step is done, or held-out pictures were looked at."""
        from fusion.training.losses import HeldOut

        if isinstance(entry, HeldOut):
            self._held_out = (
                f", held out {entry.held_out_loss:.3f} (another picture {entry.wrong_picture_loss:.3f})"
            )
            _console.print(f"step {entry.step}{self._held_out}", highlight=False)
            return
        facts = f"loss {entry.loss:.3f}{self._held_out}"
        self._progress.update(self._training, completed=entry.step, facts=facts, visible=True)


@contextmanager
def _progress(steps: int) -> Iterator[_Show]:
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console) as progress:
        yield _Show(progress, steps)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C ends at once."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        _console.print("Stopping after this step, or these pictures, and saving; Ctrl-C again ends at once.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(outcome: Outcome, folder: RunFolder) -> None:
    if outcome.step is None:
        _console.print("Stopped while pictures were encoded; the same command goes on with the others.")
        return
    if outcome.curve is None:
        _console.print(f"Losses: {folder.losses} (a curve needs matplotlib: pip install 'manymodal[train]')")
    else:
        _console.print(f"Loss curve: {outcome.curve}", highlight=False, soft_wrap=True)
    if outcome.bridge is None:
        _console.print(f"Stopped after step {outcome.step}; the same command goes on.", highlight=False)
    else:
        _console.print(
            f"[green]Done[/]: {outcome.step} steps over {outcome.pictures} pictures, {outcome.held_out} held out. "
            f"The bridge is {outcome.bridge}",
            highlight=False,
            soft_wrap=True,
        )
