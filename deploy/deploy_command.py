"""``manymodal deploy``: the application on a Ray cluster that runs already, started or brought up to date."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.given_settings import given_settings
from deploy.ray_environment import ray_environment

__all__ = ["deploy"]

_console = Console()


def deploy(
    profile: Annotated[str | None, typer.Option(help="Profile (default: laptop).")] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of the cluster's head; auto: the one this machine is part of."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="As of `serve`.")] = None,
    models_dir: Annotated[
        Path | None, typer.Option(help="Folder of prepared models, on every machine.")
    ] = None,
    environment: Annotated[
        bool,
        typer.Option(
            "--environment", help="Only print what `ray start` needs in its environment on every machine."
        ),
    ] = False,
) -> None:
    """Start the platform on a running Ray cluster, or update it there without dropping a stream.

    Replicas that change are replaced a part at a time; an old one ends when its last answer has, at most after
    drain_seconds. The command ends when all are new, and the platform stays. How the API is reached (ingress, host,
    port) is settled when Ray Serve starts on the cluster.
    """
    options = {
        "profile": profile,
        "ray_address": ray_address,
        "data_dir": data_dir,
        "models_dir": models_dir,
    }
    settings = given_settings(**options)
    if environment:
        for name, value in ray_environment(settings).items():
            typer.echo(f"export {name}={shlex.quote(value)}")
        return
    if settings.ray_address == "local":
        _console.print(
            "These settings start Ray on this machine: use `manymodal serve`. To use a cluster, set ray_address "
            "(--ray-address auto, or HOST:PORT).",
            style="red",
            highlight=False,
        )
        raise typer.Exit(2)
    from deploy.platform import update_platform

    seconds = update_platform(settings, _show_progress)
    _console.print(f"\n[bold green]Every replica is up to date[/] after {seconds:.0f} s.")


def _show_progress(name: str, state: str, seconds: float) -> None:
    _console.print(f"  {seconds:5.1f} s  {name:<12} {state}", highlight=False)
