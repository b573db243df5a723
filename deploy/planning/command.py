"""``manymodal plan``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from deploy.errors import UnusablePlan
from deploy.planning.load import read_load
from deploy.planning.plan import make_plan
from deploy.planning.report import as_json, as_text

__all__ = ["plan"]


def plan(
    preset: Annotated[str, typer.Option(help="A load that ships: laptop, production.")] = "laptop",
    load: Annotated[Path | None, typer.Option(help="A YAML file with your own load.")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Length of an embedding.")] = None,
    storage: Annotated[str | None, typer.Option(help="float32, int8, binary or pq.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Readers of the index, at least.")] = None,
    retention_days: Annotated[float | None, typer.Option(help="Days until an item is deleted.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting of the load: items.per_day.image=1e6.")
    ] = None,
    show_load: Annotated[bool, typer.Option("--show-load", help="Print the load as YAML, to edit.")] = False,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Storage, memory, machines and cost of a load, every number with its formula."""
    named = {
        "vectors.dimensions": dimensions,
        "vectors.storage": storage,
        "searches.replicas": replicas,
        "items.retention_days": retention_days,
    }
    changes = {name: value for name, value in named.items() if value is not None}
    wanted = read_load(preset, load, {**changes, **_settings(setting or [])})
    if show_load:
        typer.echo(yaml.safe_dump(wanted.model_dump(mode="json"), sort_keys=False), nl=False)
        return
    made = make_plan(wanted)
    typer.echo(json.dumps(as_json(made), indent=2) if as_json_ else as_text(made), nl=as_json_)


def _settings(given: list[str]) -> dict[str, Any]:
    settings = {}
    for one in given:
        name, separator, value = one.partition("=")
        if not separator or not name:
            raise UnusablePlan("A setting is written as NAME=VALUE, as in items.per_day.image=1e6.")
        try:
            settings[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UnusablePlan(f"The value of the setting {name!r} cannot be read.") from None
    return settings
