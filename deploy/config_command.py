"""``manymodal config show``: what all settings come to, and where each came from."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from deploy.command_options import AsJson, DataDir, Host, ModelsDir, Port, Profile
from deploy.given_settings import given_settings
from deploy.setting_origins import Setting, resolved_settings, unknown_variables

__all__ = ["config_app"]

config_app = typer.Typer(help="Settings: what they come to, and where each came from.", no_args_is_help=True)

_console = Console()
_errors = Console(stderr=True)

_WIDEST_VALUE = 40
_STYLES = {"option": "bold magenta", "environment": "bold green", "profile": "none", "default": "dim"}


@config_app.callback()
def config() -> None:
    """Settings: what they come to, and where each came from."""


@config_app.command()
def show(
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these, with all below them (chat, storage.s3).")
    ] = None,
    profile: Profile = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the settings that `serve` would have with the same options and environment.

    Each comes from an option, an environment variable, the profile's file or the platform's default, in this order.
    Secrets are masked. The exit code is 1 when a MANYMODAL_ variable has no effect because there is no such
    setting, or when a name that was asked for is none, and 2 when a setting cannot be used.
    """
    options: dict[str, Any] = {
        "profile": profile,
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "models_dir": models_dir,
    }
    settings = given_settings(**options)
    resolved = resolved_settings(settings, options)
    unknown = unknown_variables()
    missing = [name for name in names or () if not any(_below(setting, name) for setting in resolved)]
    if names:
        resolved = tuple(setting for setting in resolved if any(_below(setting, name) for name in names))
    if as_json:
        rows = [asdict(setting) for setting in resolved]
        shown = {"profile": settings.profile, "settings": rows, "unknown_variables": list(unknown)}
        typer.echo(json.dumps(shown, indent=2))
    elif resolved:
        _print(resolved)
    for name in unknown:
        _errors.print(
            f"{name} has no effect: there is no such setting.", style="yellow", highlight=False, markup=False
        )
    for name in missing:
        _errors.print(f"There is no setting {name}.", style="yellow", highlight=False, markup=False)
    if unknown or missing:
        raise typer.Exit(1)


def _below(setting: Setting, name: str) -> bool:
    return setting.name == name or setting.name.startswith(f"{name}.")


def _print(settings: tuple[Setting, ...]) -> None:
    """In columns, whole: names and variables are there to be copied."""
    rows = [("SETTING", "VALUE", "FROM", "bold")]
    for setting in settings:
        value = setting.value if isinstance(setting.value, str) else json.dumps(setting.value)
        rows.append((setting.name, value, setting.source or "default", _STYLES[setting.origin]))
    widths = [max(len(row[0]) for row in rows), min(_WIDEST_VALUE, max(len(row[1]) for row in rows))]
    for name, value, source, style in rows:
        line = f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}"
        _console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
