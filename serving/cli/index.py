"""``manymodal index``: make files searchable."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.failures import NoServer, RequestRefused, UnusableInput
from serving.cli.options import DEFAULT_URL, AsJson, Collection, Url, connected

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = ["document_id", "files_in", "index"]

_TEXT_SUFFIXES = frozenset({".txt", ".md"})
# Media that Python's table of types does not know everywhere.
_MEDIA_SUFFIXES = frozenset(
    {".avif", ".flac", ".heic", ".heif", ".m4a", ".mkv", ".oga", ".ogg", ".opus", ".webm", ".webp"}
)


def index(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files, and folders with all below them.")
    ],
    collection: Collection = "default",
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Make pictures, recordings, videos and texts searchable. A file indexed before is replaced.

    Of folders, media and text files (.txt, .md) are taken, hidden ones not. --json prints a line per file.
    The exit code is 1 when a file could not be indexed; the others are done all the same.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failed = 0
    with connected(url) as server:
        files = list(files_in(paths))
        if not files:
            raise UnusableInput(
                "No media or text files were found there; name a file to index it whatever it is."
            )
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("indexing", total=len(files))
            for path in files:
                progress.update(task, description=path.name[:40])
                result = _index_one(server, collection, path)
                failed += "error" in result
                if as_json:
                    typer.echo(json.dumps(result, ensure_ascii=False))
                elif "error" in result:
                    console.print(
                        f"{path}: {result['error']}",
                        style="red",
                        markup=False,
                        highlight=False,
                        soft_wrap=True,
                    )
                progress.advance(task)
        if not as_json:
            typer.echo(f"{len(files) - failed} of {len(files)} files are in the collection '{collection}'.")
    if failed:
        raise typer.Exit(1)


def files_in(paths: Sequence[Path]) -> Iterator[Path]:
    """The named files whatever they are, and of folders the files whose names end like media or text."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, below, names in os.walk(path):
            below[:] = sorted(name for name in below if not name.startswith("."))
            yield from (
                Path(folder, name) for name in sorted(names) if not name.startswith(".") and _is_wanted(name)
            )


def document_id(path: Path) -> str:
    """The same for the same place on this machine, so that indexing again replaces."""
    return f"path-{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}"


def _index_one(server: Server, collection: str, path: Path) -> dict[str, Any]:
    """What became of one file. ``NoServer`` is raised: the other files would fare no better."""
    document: dict[str, Any] = {
        "id": document_id(path),
        "metadata": {"filename": path.name, "path": str(path.resolve())},
    }
    result: dict[str, Any] = {"path": str(path), "id": document["id"]}
    try:
        if path.suffix.lower() in _TEXT_SUFFIXES:
            document["text"] = _text(path)
        else:
            document["media_id"] = server.upload(path)["id"]
        return {**result, **server.add_document(collection, document)}
    except NoServer:
        raise
    except (RequestRefused, UnusableInput) as failure:
        return {**result, "error": failure.message}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise UnusableInput("The file is not UTF-8 text.") from None
    except OSError as error:
        raise UnusableInput(f"The file cannot be read: {error.strerror or error}.") from None


def _is_wanted(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    if suffix in _TEXT_SUFFIXES or suffix in _MEDIA_SUFFIXES:
        return True
    guess = mimetypes.guess_type(f"x{suffix}", strict=False)[0] or ""
    return guess.startswith(("image/", "audio/", "video/")) and guess != "image/svg+xml"
