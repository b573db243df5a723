"""``manymodal deploy``: the application on a Ray cluster that runs already, started or brought up to date."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from deploy.command_options import AsJson, DataDir, Profile
from deploy.given_settings import given_settings
from deploy.ray_environment import ray_environment
from serving.cli.failures import UnusableInput
from serving.cli.messages import note

__all__ = ["deploy"]


def deploy(
    profile: Profile = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of the cluster's head; auto: the one this machine is part of."),
    ] = None,
    data_dir: DataDir = None,
    models_dir: Annotated[
        Path | None, typer.Option(help="Folder of prepared models, on every machine.")
    ] = None,
    environment: Annotated[
        bool,
        typer.Option(
            "--environment", help="Only print what `ray start` needs in its environment on every machine."
        ),
    ] = False,
    as_json: AsJson = False,
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
        variables = ray_environment(settings)
        if as_json:
            typer.echo(json.dumps(variables, indent=2))
        else:
            typer.echo("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
        return
    if settings.ray_address == "local":
        raise UnusableInput(
            "These settings start Ray on this machine: use `manymodal up`. To use a cluster, set ray_address "
            "(--ray-address auto, or HOST:PORT)."
        )
    from deploy.platform import update_platform

    seconds = update_platform(settings, _show_progress)
    if as_json:
        typer.echo(json.dumps({"up_to_date": True, "seconds": round(seconds, 1)}))
    else:
        note(f"Every replica is up to date after {seconds:.0f} s.", "green")


def _show_progress(name: str, state: str, seconds: float) -> None:
    note(f"  {seconds:5.1f} s  {name:<12} {state}")
