"""The settings that a command is given, or a sentence about what is wrong with them and exit code 2."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console

from deploy.settings import Settings, load_settings

__all__ = ["given_settings"]

_errors = Console(stderr=True)
_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}


def given_settings(**options: Any) -> Settings:
    """``load_settings`` of a command's options. Raises ``typer.Exit``, having said which setting is wrong."""
    try:
        return load_settings(options)
    except ValidationError as error:
        for problem in error.errors():
            field = ".".join(str(part) for part in problem["loc"])
            what = problem["msg"].removeprefix("Value error, ")
            # Markup would take what is in brackets for a style.
            _errors.print(f"Setting {field}: {what}" if field else f"Settings: {what}", style="red", **_PLAIN)
    except ValueError as error:
        _errors.print(str(error), style="red", **_PLAIN)
    raise typer.Exit(2)
