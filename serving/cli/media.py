"""``manymodal media``: what is stored: list, upload, look at, download, delete."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.exit_codes import ExitCode
from serving.cli.failures import ClientFailure, NoServer, UnusableInput
from serving.cli.inputs import only_one_standard_input, require_readable
from serving.cli.messages import note, print_json, print_table, say_error
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Url, connected
from serving.cli.outputs import write_pieces
from serving.cli.plain import plain

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = ["media_app"]

media_app = typer.Typer(
    help="Stored media and files: upload, list, look at, download, delete.", no_args_is_help=True
)

_PAGE = 100
_PIECE_BYTES = 1 << 20


class MediaKind(StrEnum):
    """Kinds of media."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


MediaId = Annotated[str, typer.Argument(metavar="ID", help="The medium's id: file-...")]


@media_app.command("ls")
def list_media(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    kind: Annotated[MediaKind | None, typer.Option(help="Only pictures, sound or videos.")] = None,
    purpose: Annotated[
        str | None, typer.Option(help="Only of this purpose; `inline` for what came inside requests.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List what is stored, newest first."""
    wanted: dict[str, Any] = {"kind": kind, "purpose": purpose, "limit": min(limit, _PAGE)}
    with connected(url, api_key) as server, server.translating():
        found = [plain(one) for one in islice(server.api.media.list(**wanted), limit)]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["id"], one["kind"], _size(one["bytes"]), _time(one["created_at"]), one.get("filename"))
        for one in found
    ]
    if rows:
        print_table(("Id", "Kind", "Size", "Stored", "Name"), rows, whole=4)
    else:
        note(
            "There are none. `manymodal media put FILE` uploads something; --purpose inline lists what came inside "
            "requests and indexing."
        )


@media_app.command("put")
def put_media(
    files: Annotated[list[str], typer.Argument(metavar="FILE|-...", help="Files; '-' is standard input.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Upload pictures, recordings and videos, and print their ids, one a line, in order."""
    only_one_standard_input(*files)
    require_readable(*files)
    made = []
    try:
        with connected(url, api_key) as server:
            for given in files:
                medium = server.upload(given)
                made.append(medium)
                if not as_json:
                    typer.echo(medium["id"])
                    for twin in medium.get("near_duplicates") or ():
                        note(f"{given} looks like {twin['id']}, which was there before.", "dim")
    finally:
        if as_json:  # when one fails, too: the ids of those before it are needed
            print_json(made)


@media_app.command("show")
def show_medium(
    media_id: MediaId, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """What is known of a medium: kind, size, length, and uploaded pictures that look like it."""
    with connected(url, api_key) as server, server.translating():
        medium = plain(server.api.media.get(media_id))
    if as_json:
        print_json(medium)
        return
    twins = ", ".join(
        f"{twin['id']} (distance {twin['distance']})" for twin in medium.get("near_duplicates") or ()
    )
    rows = [
        (name, value)
        for name, value in ({**medium, "near_duplicates": twins}).items()
        if value not in (None, "", False) and name not in ("object", "url")
    ]
    print_table(("What", "Value"), rows)


@media_app.command("get")
def get_medium(
    media_id: MediaId,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE|-", help="Where to write (default: its name, here; - is a pipe)."
        ),
    ] = None,
    thumbnail: Annotated[
        int | None,
        typer.Option(min=64, max=1024, help="A small JPEG instead, of at most so many pixels a side."),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Download a medium, or a thumbnail of it. An existing file is replaced only when it is named."""
    piped = (output is not None and str(output) == "-") or (
        output is None and not sys.stdout.isatty() and not as_json
    )
    if piped and as_json:
        raise UnusableInput("With --json the contents need a file: give --output FILE.")
    with connected(url, api_key) as server, server.translating():
        target = None if piped else output or _free_place(server, media_id, thumbnail is not None)
        if thumbnail is not None:
            size_bytes = write_pieces([server.api.media.thumbnail(media_id, size=thumbnail)], target)
        else:
            with server.openai.files.with_streaming_response.content(media_id) as answer:
                size_bytes = write_pieces(answer.iter_bytes(_PIECE_BYTES), target)
    if target is None:
        return
    if as_json:
        print_json({"id": media_id, "path": str(target), "bytes": size_bytes})
    else:
        note(f"{target}: {_size(size_bytes)}.")


@media_app.command("link")
def link_medium(
    media_id: MediaId,
    seconds: Annotated[int, typer.Option(min=60, max=604800, help="How long it is good.")] = 3600,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a link that downloads a medium without a key, for a while."""
    with connected(url, api_key) as server, server.translating():
        link = plain(server.api.media.link(media_id, expires_in_seconds=seconds))
    if as_json:
        print_json(link)
    else:
        typer.echo(link["url"])


@media_app.command("rm")
def remove_media(
    media_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids: file-...")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Delete media, with all that was made of them, and the documents they are in.

    One that is not there does not keep the others from being deleted; the exit code is that of the last failure.
    """
    rows: list[dict[str, Any]] = []
    code = ExitCode.DONE
    with connected(url, api_key) as server:
        for media_id in media_ids:
            try:
                with server.translating():
                    server.api.media.delete(media_id)
                rows.append({"id": media_id, "deleted": True, "error": None})
            except NoServer:
                raise
            except ClientFailure as failure:
                code = failure.exit_code
                rows.append({"id": media_id, "deleted": False, "error": failure.message})
                say_error(f"{media_id}: {failure.message}")
    if as_json:
        print_json(rows)
    else:
        note(f"{sum(row['deleted'] for row in rows)} of {len(rows)} deleted.")
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


def _free_place(server: Server, media_id: str, is_thumbnail: bool) -> Path:
    """A name that is not taken here, made of the last part of the one it was uploaded under: a name from elsewhere
    must not lead to another folder.
    """
    given = server.openai.files.retrieve(media_id).filename or ""
    name = Path(given.replace("\\", "/")).name.lstrip(".") or media_id
    wanted = Path(f"{Path(name).stem}-thumbnail.jpg") if is_thumbnail else Path(name)
    place, number = wanted, 1
    while place.exists():
        place, number = wanted.with_stem(f"{wanted.stem}-{number}"), number + 1
    return place


def _size(size_bytes: int) -> str:
    for unit, divisor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= divisor:
            return f"{size_bytes / divisor:.1f} {unit}"
    return f"{size_bytes} B"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
