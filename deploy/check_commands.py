"""``manymodal doctor`` and ``manymodal verify``: looking whether all is in order."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.command_options import AsJson, DataDir, ModelsDir, Port, Profile
from deploy.given_settings import given_settings
from serving.cli.exit_codes import ExitCode
from serving.cli.messages import notes

if TYPE_CHECKING:
    from deploy.verify import Verification

__all__ = ["doctor", "verify"]

_console = Console()


def doctor(
    profile: Profile = None,
    port: Port = None,
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, where models come from, and what to do about what is missing.

    The exit code is 1 when something is missing.
    """
    from deploy.doctor import examine

    findings = list(
        examine(given_settings(profile=profile, port=port, data_dir=data_dir, models_dir=models_dir))
    )
    if as_json:
        rows = [{"what": f.what, "state": f.state, "facts": f.facts, "advice": f.advice} for f in findings]
        typer.echo(json.dumps(rows, indent=2))
    else:
        table = Table("", "What", "Facts", "To do", box=None, pad_edge=False)
        marks = {"ok": "[green]ok[/]", "warning": "[yellow]look[/]", "missing": "[red]missing[/]"}
        for finding in findings:
            table.add_row(marks[finding.state], finding.what, finding.facts, finding.advice)
        _console.print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def verify(
    profile: Profile = None,
    data_dir: DataDir = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="Repair nothing, only report.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check every stored object, reference and search entry, and repair what can be repaired.

    Safe beside a running platform. The exit code is 1 when something is left that is wrong.
    """
    from deploy.verify import verify_platform

    settings = given_settings(profile=profile, data_dir=data_dir)
    with notes().status("Checking") as status:
        found = verify_platform(
            settings,
            repair=not check_only,
            progress=lambda what, count: status.update(f"Checking {what}: {count}"),
        )
    if as_json:
        typer.echo(json.dumps({"clean": found.clean, **asdict(found)}, indent=2))
    else:
        _print_verification(found)
    if not found.clean:
        raise typer.Exit(ExitCode.FAILED)


def _print_verification(found: Verification) -> None:
    table = Table("What", "Where", "Done", box=None, pad_edge=False)
    for finding in found.store.findings:
        table.add_row(finding.kind, finding.key, finding.action)
    for entry in found.dangling:
        done = f"{entry.removed_documents} documents removed" if found.repaired else "nothing"
        table.add_row("search entry without medium", f"{entry.tenant}: {', '.join(entry.media_ids)}", done)
    if table.row_count:
        _console.print(table)
    counts = ", ".join(f"{count} {what}" for what, count in found.store.counts.items())
    _console.print(f"{counts}. " + ("[green]Clean.[/]" if found.clean else "[red]Not clean.[/]"))
