"""``manymodal models``: what a running platform serves."""

from __future__ import annotations

from typing import Any

import typer

from serving.cli.messages import print_json, print_table
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Url, connected

__all__ = ["models"]


def models(
    context: typer.Context, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """List the models that the running platform serves."""
    if context.invoked_subcommand is not None:
        return
    with connected(url, api_key) as server:
        served = server.models()
        if as_json:
            print_json(served)
        else:
            _print_models(served)


def _print_models(served: list[dict[str, Any]]) -> None:
    rows = []
    for model in served:
        facts = model.get("manymodal") or {}
        takes = ", ".join(facts.get("modalities", ()))
        aliases = ", ".join(facts.get("aliases", ()))
        rows.append((model["id"], facts.get("task", ""), aliases, takes, facts.get("licence", "")))
    print_table(("Model", "Task", "Also called", "Takes", "Licence"), rows)
