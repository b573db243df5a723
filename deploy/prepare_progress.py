"""Preparing models with a bar for each on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from deploy.settings import Settings

__all__ = ["prepare_with_progress"]


def prepare_with_progress(settings: Settings, names: tuple[str, ...]) -> None:
    """Make models ready to load. What is ready is left alone, and named at a terminal only. Raises
    ``EncoderError``.
    """
    from encoders.prepare import prepare_models
    from encoders.types import ModelSpec

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(30),
        TextColumn("{task.fields[facts]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, Any] = {}

        def show(spec: ModelSpec, fraction: float, text: str) -> None:
            if spec.name not in tasks:
                if fraction >= 1.0 and not console.is_terminal:
                    return  # ready before; a log need not say so at every start
                tasks[spec.name] = progress.add_task(spec.name, total=1.0, facts="")
            progress.update(tasks[spec.name], completed=fraction, facts=f"{spec.licence}  {text}")

        prepare_models(names, settings.models_dir, show)
