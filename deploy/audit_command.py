"""``manymodal audit``: reading the audit log, and telling whether anybody tampered with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from deploy.command_options import AlwaysJson, AsJson, DataDir, Profile
from deploy.given_settings import given_settings

__all__ = ["audit_app"]

audit_app = typer.Typer(help="The audit log: who did what, and when.", no_args_is_help=True)

_console = Console()


@audit_app.command()
def verify(profile: Profile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check that nothing was changed, removed, added or reordered. The exit code is 1 when something was.

    Safe beside a running platform.
    """
    from dataclasses import asdict

    from serving.audit.verification import verify_audit
    from storage.backends import open_object_store

    settings = given_settings(profile=profile, data_dir=data_dir)
    report = verify_audit(open_object_store(settings.storage_config()), settings.secret_bytes())
    if as_json:
        typer.echo(json.dumps({"clean": report.clean, **asdict(report)}, indent=2))
    else:
        for finding in report.findings:
            _console.print(
                f"[red]{finding.gateway}, entry {finding.number}: {finding.what}[/]", highlight=False
            )
        _console.print(
            f"{report.chains} chains, {report.entries} entries, {report.lost} that could not be noted, "
            f"{len(report.open)} chains without an end (running, or killed). "
            + ("[green]Clean.[/]" if report.clean else "[red]Not clean.[/]"),
            highlight=False,
        )
    if not report.clean:
        raise typer.Exit(1)


@audit_app.command()
def show(
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    key: Annotated[str | None, typer.Option(help="Only by the key with this id.")] = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: AlwaysJson = True,
) -> None:
    """The entries, a JSON object a line, chain by chain; `verify` says whether they are what was written."""
    from serving.audit.verification import entries
    from storage.backends import open_object_store

    settings = given_settings(profile=profile, data_dir=data_dir)
    for entry in entries(open_object_store(settings.storage_config())):
        if (tenant is None or entry.get("tenant") == tenant) and (key is None or entry.get("key") == key):
            when = datetime.fromtimestamp(entry["at"] / 1000, UTC).isoformat(timespec="milliseconds")
            typer.echo(json.dumps({**entry, "at": when}, ensure_ascii=True))
