"""``manymodal warm-up``: bring what is known of some media back into the caches of a running platform."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from serving.cli.failures import UnusableInput
from serving.cli.messages import print_json
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Url, connected

__all__ = ["warm_up"]


def warm_up(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file with one media id per line; - is standard input.")
    ],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Load what was derived of the listed media into the caches, so that first questions are answered fast."""
    with connected(url, api_key) as server:
        ids = _ids(source)
        with server.translating():
            found = server.api.media.warm_up(ids)
        missing = found.not_found
        if as_json:
            print_json(
                {
                    "loaded": found.loaded,
                    "loaded_bytes": found.loaded_bytes,
                    "complete": found.complete,
                    "not_found": missing,
                }
            )
        else:
            typer.echo(
                f"{found.loaded} results ({found.loaded_bytes / 1024:.0f} KiB) of {len(ids)} media were "
                f"brought into the caches; {len(missing)} ids were not found."
            )
            if not found.complete:
                typer.echo("Not all was: the cache in memory is full, or the store failed.")
    if missing:
        raise typer.Exit(1)


def _ids(source: Path) -> list[str]:
    try:
        text = sys.stdin.read() if str(source) == "-" else source.read_text("utf-8")
    except OSError as error:
        raise UnusableInput(f"'{source}' cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UnusableInput(f"'{source}' is no text: write one id per line.") from None
    lines = (line.strip() for line in text.splitlines())
    ids = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not ids:
        raise UnusableInput(f"'{source}' lists no ids; write one per line.")
    return ids
