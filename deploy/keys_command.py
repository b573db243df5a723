"""``manymodal keys``: who may use the API, and what for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from deploy.command_options import AsJson, DataDir, Profile
from deploy.given_settings import given_settings
from serving.identity import ALL_SCOPES, Scope

if TYPE_CHECKING:
    from serving.access.keys import ApiKey, KeyStore

__all__ = ["keys_app"]

keys_app = typer.Typer(
    help="API keys. Changes are seen by running gateways within 5 seconds.", no_args_is_help=True
)

_console = Console()
_errors = Console(stderr=True)
_HOUR, _DAY = 3600, 24 * 3600  # seconds
_LONGEST = 100 * 366 * _DAY

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id: what `manymodal keys list` shows.")]


@keys_app.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for; shown in lists.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose data it reaches.")] = "default",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            "-s",
            help=f"What it may be used for, may be repeated: {', '.join(get_args(Scope))}. Without: all but admin.",
        ),
    ] = None,
    expires_in_days: Annotated[float | None, typer.Option(help="When it ends (default: never).")] = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once. As soon as there is one, everybody needs one."""
    store = _store(profile, data_dir)
    is_first = not store.any()
    try:
        ends_at = None if expires_in_days is None else int(store.clock()) + _seconds(expires_in_days * _DAY)
        key, text = store.create(name, tenant, _scopes(scope), ends_at)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _print_new(key, text, as_json)
    if is_first:
        _errors.print("This is the first key: from now on the API asks for one.", highlight=False)


@keys_app.command("list")
def list_keys(profile: Profile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """All keys, with what they may be used for and when they last were. The keys themselves are not kept."""
    store = _store(profile, data_dir)
    rows = [_row(store, key_id) for key_id in store.ids()]
    rows.sort(key=lambda row: row["created_at"] or 0)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("Id", no_wrap=True, min_width=24)  # to be copied, however narrow the terminal is
    for heading in ("Name", "Tenant", "Scopes", "Created", "Last used", "State"):
        table.add_column(heading)
    for row in rows:
        times = (_shown_time(row["created_at"]), _shown_time(row["last_used_at"]))
        table.add_row(row["id"], row["name"], row["tenant"], " ".join(row["scopes"]), *times, row["state"])
    _console.print(table if rows else "There are no keys: on this machine the API is open.", markup=False)


@keys_app.command()
def revoke(key_id: KeyId, profile: Profile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """End a key. Requests that are under way go on."""
    revoked = _store(profile, data_dir).revoke(key_id)
    if revoked is None:
        _no_key()
    elif as_json:
        typer.echo(json.dumps(_facts(revoked), indent=2))
        return
    _console.print(
        f"The key {key_id} is revoked; running gateways refuse it within 5 seconds.", highlight=False
    )


@keys_app.command()
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[
        float, typer.Option(min=0, help="How long the old key is good beside the new one.")
    ] = 0.0,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key that may do what an old one may, print it, and end the old one."""
    try:
        overlap = _seconds(overlap_hours * _HOUR)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    made = _store(profile, data_dir).rotate(key_id, overlap)
    if made is None:
        _no_key()
    else:
        _print_new(*made, as_json)


def _store(profile: str | None, data_dir: Path | None) -> KeyStore:
    from deploy.access import key_store  # boto3 and the like; help texts must not wait for them

    return key_store(given_settings(profile=profile, data_dir=data_dir))


def _seconds(given: float) -> int:
    """Whole seconds. Raises ``ValueError`` for what is no length of time, or longer than the calendar has room."""
    if not abs(given) <= _LONGEST:
        raise ValueError("A time may be at most a hundred years.")
    return int(given)


def _scopes(given: Sequence[str] | None) -> frozenset[Scope]:
    if not given:
        return ALL_SCOPES - {"admin"}
    unknown = [scope for scope in given if scope not in ALL_SCOPES]
    if unknown:
        raise typer.BadParameter(
            f"There is no scope '{unknown[0]}'; there are: {', '.join(get_args(Scope))}."
        )
    return frozenset(scope for scope in ALL_SCOPES if scope in given)


def _no_key() -> None:
    _errors.print("[red]There is no such key, or it has ended. `manymodal keys list` shows all.[/]")
    raise typer.Exit(1)


def _print_new(key: ApiKey, text: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**_facts(key), "key": text}, indent=2))
        return
    typer.echo(text)
    _errors.print(
        f"Id {key.id}, tenant {key.tenant}, scopes {' '.join(sorted(key.scopes))}. Nobody can show the key again.",
        highlight=False,
    )


def _facts(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": sorted(key.scopes),
        "created_at": key.created_at_seconds,
        "expires_at": key.expires_at_seconds,
        "revoked_at": key.revoked_at_seconds,
    }


def _row(store: KeyStore, key_id: str) -> dict[str, Any]:
    from storage.errors import CorruptObject

    try:
        key = store.get(key_id)
    except CorruptObject:  # or written under another secret than this machine's
        key = None
    if key is None:
        nothing = dict.fromkeys(("created_at", "expires_at", "revoked_at", "last_used_at"))
        return {"id": key_id, "name": "", "tenant": "", "scopes": [], **nothing, "state": "unreadable"}
    state = "good"
    if key.revoked_at_seconds is not None:
        state = "revoked"
    elif not key.is_good(store.clock()):
        state = "ended"
    elif key.expires_at_seconds is not None:
        state = f"until {_shown_time(key.expires_at_seconds)}"
    return {**_facts(key), "last_used_at": store.last_used_seconds(key_id), "state": state}


def _shown_time(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
