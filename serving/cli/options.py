"""Options that several commands share, and the connection they ask for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.completion import complete_collection, complete_model

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = [
    "DEFAULT_URL",
    "ApiKey",
    "AsJson",
    "Collection",
    "Duplicates",
    "MinSide",
    "Model",
    "Ocr",
    "Report",
    "Url",
    "connected",
]

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option("--url", envvar="MANYMODAL_URL", help="Where the platform answers.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="MANYMODAL_API_KEY",
        help="Key of the API, where it needs one. Others on the machine see options: better set the variable.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Collection = Annotated[
    str,
    typer.Option("--collection", "-c", help="Which collection.", autocompletion=complete_collection),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", help="Which model; `manymodal models` lists them.", autocompletion=complete_model
    ),
]
# Of bulk ingest, by way of the API or of Ray Data:
Ocr = Annotated[
    str, typer.Option(help="Read the writing in pictures: of those that look like it (auto), on, off.")
]
MinSide = Annotated[int, typer.Option(min=0, help="Skip pictures with a side of fewer pixels than this.")]
Duplicates = Annotated[
    str, typer.Option(help="What to do with contents that are there already: skip or index.")
]
Report = Annotated[
    Path | None, typer.Option(help="Write what was skipped or failed here, a JSON object a line.")
]


@contextlib.contextmanager
def connected(url: str, api_key: str | None = None) -> Iterator[Server]:
    """A client for ``url``. What it raises becomes a sentence and an exit code in ``CommandGroup``."""
    # Imported here and not above: showing a help text must not wait for an HTTP library.
    from serving.cli.client import Server

    with Server(url, api_key) as server:
        yield server
