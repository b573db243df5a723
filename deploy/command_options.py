"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.profile_files import profile_names

__all__ = ["AlwaysJson", "AsJson", "DataDir", "Host", "ModelsDir", "Port", "Profile"]


def _complete_profile(incomplete: str) -> list[str]:
    return [name for name in profile_names() if name.startswith(incomplete)]


Profile = Annotated[
    str | None,
    typer.Option(
        help="Profile: which models and deployments, whose settings (default: laptop).",
        autocompletion=_complete_profile,
    ),
]
Host = Annotated[
    str | None, typer.Option(help="Address of the API (default: 127.0.0.1); others need API keys.")
]
Port = Annotated[int | None, typer.Option(help="Port of the API (default: the profile's, 8000).")]
DataDir = Annotated[Path | None, typer.Option(help="Folder for media, collections and caches.")]
ModelsDir = Annotated[Path | None, typer.Option(help="Folder of prepared models.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AlwaysJson = Annotated[bool, typer.Option("--json", help="Print JSON, as it does without this.")]
