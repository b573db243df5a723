"""``manymodal models prepare`` and ``available``: the models of this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deploy.command_options import AsJson, ModelsDir, Profile
from deploy.given_settings import given_settings
from deploy.prepare_progress import prepare_with_progress
from serving.cli.messages import note, print_table

__all__ = ["models_app"]

models_app = typer.Typer(
    help="Models: those a running platform serves, those there are, where their weights come from, preparing them."
)


@models_app.command("prepare")
def prepare(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models; without any, all of the profile.")
    ] = None,
    packaged: Annotated[bool, typer.Option(help="All models that installed packages carry.")] = False,
    profile: Profile = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Make models ready to load. What is ready already is left alone."""
    from encoders.registry import installed, specs

    settings = given_settings(profile=profile, models_dir=models_dir)
    carried = tuple(spec.name for spec in specs() if installed(spec)) if packaged else ()
    wanted = (*(names or ()), *carried) or settings.model_names()
    prepare_with_progress(settings, wanted)
    if as_json:
        typer.echo(json.dumps({"models_dir": str(settings.models_dir), "ready": list(wanted)}, indent=2))


@models_app.command("available")
def available(models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """All models this installation knows, where their weights come from, and the SHA-256 (its first 12 digits) over
    all files of those that are ready.
    """
    from encoders.registry import resolve, specs
    from encoders.weights import content_revision, find_directory

    folder = given_settings(models_dir=models_dir).models_dir
    rows = [
        {
            "name": spec.name,
            "task": spec.task,
            "takes": list(spec.modalities),
            "licence": spec.licence,
            "memory_bytes": spec.memory_bytes,
            "source": found.source,
            "ready": found.ready,
            "checksum": content_revision(find_directory(spec, folder)) if found.ready else None,
            "advice": found.advice,
        }
        for spec in specs()
        for found in (resolve(spec, folder),)
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    shown = [
        (
            row["name"],
            row["task"],
            row["licence"],
            f"{row['memory_bytes'] >> 20} MiB" if row["memory_bytes"] else "?",  # type: ignore[operator] # an int
            row["source"],
            row["checksum"],
            "yes" if row["ready"] else "no",
        )
        for row in rows
    ]
    headings = ("Model", "Task", "Licence", "Memory", "Weights", "Checksum", "Ready")
    print_table(headings, shown, whole=len(headings))
    note("What is not ready is made ready by: manymodal models prepare NAME")
