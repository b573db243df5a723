"""``manymodal simulate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from deploy.errors import UnusablePlan

__all__ = ["simulate"]


def simulate(
    preset: Annotated[str, typer.Option(help="A load that ships: laptop, production.")] = "production",
    load: Annotated[Path | None, typer.Option(help="A YAML file with your own load, as for plan.")] = None,
    share: Annotated[float | None, typer.Option(help="Share of the load that is simulated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed is another day.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting: media.exponent=1, load.models.vision=vit-l-14-batched."),
    ] = None,
    show_scenario: Annotated[
        bool, typer.Option("--show-scenario", help="Print all settings as YAML.")
    ] = False,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """GPUs of each pool, times to the first token, cost, caches and a spike, from a simulated day's peak."""
    # Not before: they take a second to import, and other commands do not need them.
    from deploy.simulation.report import as_json, as_text
    from deploy.simulation.scenario import read_scenario
    from deploy.simulation.study import make_study

    loads, others = _settings(setting or [])
    for name, value in (("share", share), ("seed", seed)):
        if value is not None:
            others[name] = value
    scenario = read_scenario(preset, load, loads, others)
    if show_scenario:
        typer.echo(yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False), nl=False)
        return
    study = make_study(scenario, lambda what: typer.echo(f"Simulating {what}", err=True))
    typer.echo(json.dumps(as_json(study), indent=2) if as_json_ else as_text(study), nl=as_json_)


def _settings(given: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of the load, and the others."""
    loads, others = dict[str, Any](), dict[str, Any]()
    for one in given:
        name, separator, value = one.partition("=")
        if not separator or not name:
            raise UnusablePlan("A setting is written as NAME=VALUE, as in media.exponent=1.")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UnusablePlan(f"The value of the setting {name!r} cannot be read.") from None
        name = name.strip()
        if name.startswith("load."):
            loads[name.removeprefix("load.")] = read
        else:
            others[name] = read
    return loads, others
