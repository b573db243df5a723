"""The ``manymodal`` command: what starts, prepares and examines the platform, beside the client's commands."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.audit_command import audit_app
from deploy.config_command import config_app
from deploy.deploy_command import deploy
from deploy.errors import DeployError
from deploy.given_settings import given_settings
from deploy.ingest_command import ingest_cluster
from deploy.keys_command import keys_app
from deploy.planning.command import plan
from deploy.samples_command import samples
from deploy.settings import Settings
from deploy.simulate_command import simulate
from deploy.tenants_command import tenants_app
from deploy.train_command import train_bridge
from encoders.errors import EncoderError
from fusion.errors import FusionError
from search.errors import SearchError
from serving.cli import register as register_client_commands
from storage.errors import StorageError

if TYPE_CHECKING:
    from deploy.verify import Verification

__all__ = ["app", "main"]

app = typer.Typer(
    name="manymodal",
    help="Text, images, audio and video behind one OpenAI-compatible API, on your own machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="Models: which there are, where their weights come from, preparing them.")
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")
app.add_typer(tenants_app, name="tenants")
app.add_typer(audit_app, name="audit")
app.add_typer(config_app, name="config")
register_client_commands(app, models_app)
app.command()(plan)
app.command()(simulate)
app.command()(deploy)
app.command()(samples)
app.command("ingest-cluster")(ingest_cluster)
app.command("train-bridge")(train_bridge)

_console = Console()
_errors = Console(stderr=True)

Profile = Annotated[str | None, typer.Option(help="Profile: which models and deployments (default: laptop).")]
Host = Annotated[
    str | None, typer.Option(help="Address of the API (default: 127.0.0.1); others need API keys.")
]
Port = Annotated[int | None, typer.Option(help="Port of the API (default: the profile's, 8000).")]
DataDir = Annotated[Path | None, typer.Option(help="Folder for media, collections and caches.")]
ModelsDir = Annotated[Path | None, typer.Option(help="Folder of prepared models.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def serve(
    profile: Profile = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
) -> None:
    """Start the platform and keep serving until Ctrl-C, which drains and stops everything."""
    from deploy.platform import running_platform

    settings = given_settings(profile=profile, host=host, port=port, data_dir=data_dir, models_dir=models_dir)
    _prepare(settings, settings.model_names())
    # A service manager's SIGTERM means what Ctrl-C means.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), running_platform(settings, _show_progress) as platform:
        _console.print(
            f"\n[bold green]Ready[/] in {platform.start_seconds:.0f} s: [bold]{platform.base_url}[/]  "
            "(Ctrl-C stops)\n\n"
            f"curl {platform.base_url}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
            '  -d \'{"model": "default", "messages": [{"role": "user", "content": "Say hello."}]}\'\n',
            highlight=False,
            soft_wrap=True,
        )
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            _console.print("\nDraining: running answers may finish. Ctrl-C again stops at once.")
    _console.print("Stopped.")


@app.command()
def demo(
    profile: Profile = None, port: Port = None, data_dir: DataDir = None, models_dir: ModelsDir = None
) -> None:
    """Start the platform, run a tour over sample media, and stop it."""
    from deploy.access import temporary_key
    from deploy.demo.samples import make_samples
    from deploy.demo.tour import run_tour
    from deploy.platform import running_platform

    settings = given_settings(profile=profile, port=port, data_dir=data_dir, models_dir=models_dir)
    _prepare(settings, settings.model_names())
    samples = make_samples(settings.make_data_dir() / "samples")
    with running_platform(settings, _show_progress) as platform:
        _console.print(f"[bold green]Ready[/] in {platform.start_seconds:.0f} s: {platform.base_url}\n")
        with temporary_key(settings) as key:
            run_tour(platform.base_url, samples, _console, key)
    _console.print("Stopped. Keep it running with [bold]make serve[/].")


@app.command()
def doctor(
    profile: Profile = None,
    port: Port = None,
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, where models come from, and what to do about what is missing."""
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
        raise typer.Exit(1)


@app.command()
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
    with _errors.status("Checking") as status:
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
        raise typer.Exit(1)


@models_app.command("prepare")
def prepare(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models; without any, all of the profile.")
    ] = None,
    packaged: Annotated[bool, typer.Option(help="All models that installed packages carry.")] = False,
    profile: Profile = None,
    models_dir: ModelsDir = None,
) -> None:
    """Make models ready to load. What is ready already is left alone."""
    from encoders.registry import installed, specs

    settings = given_settings(profile=profile, models_dir=models_dir)
    carried = tuple(spec.name for spec in specs() if installed(spec)) if packaged else ()
    _prepare(settings, (*(names or ()), *carried) or settings.model_names())


@models_app.command("available")
def available(models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """All models this installation knows, where their weights come from, and the SHA-256 (its first 12 digits) over
    all files of those that are ready.
    """
    from encoders.registry import resolve, specs
    from encoders.weights import content_revision, find_directory

    folder = given_settings(models_dir=models_dir).models_dir
    rows = [
        {
            "name": spec.name,
            "task": spec.task,
            "takes": list(spec.modalities),
            "licence": spec.licence,
            "memory_bytes": spec.memory_bytes,
            "source": found.source,
            "ready": found.ready,
            "checksum": content_revision(find_directory(spec, folder)) if found.ready else None,
            "advice": found.advice,
        }
        for spec in specs()
        for found in (resolve(spec, folder),)
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Model", "Task", "Licence", "Memory", "Weights", "Checksum", "Ready"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        memory = f"{row['memory_bytes'] >> 20} MiB" if row["memory_bytes"] else "?"  # type: ignore[operator]
        ready = "yes" if row["ready"] else "no"
        named = (
            row["name"],
            row["task"],
            row["licence"],
            memory,
            row["source"],
            row["checksum"] or "",
            ready,
        )
        table.add_row(*map(str, named))
    _console.print(table)
    _console.print("What is not ready is made ready by: manymodal models prepare NAME", highlight=False)


def main() -> None:
    """Entry point: every expected failure is one sentence on standard error and exit code 1."""
    try:
        app()
    except (DeployError, EncoderError, FusionError, SearchError, StorageError) as error:
        _errors.print(f"[red]{error.message}[/]", highlight=False)
        raise SystemExit(1) from None


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


def _prepare(settings: Settings, names: tuple[str, ...]) -> None:
    from encoders.prepare import prepare_models
    from encoders.types import ModelSpec

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(30),
        TextColumn("{task.fields[facts]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_console) as progress:
        tasks: dict[str, Any] = {}

        def show(spec: ModelSpec, fraction: float, text: str) -> None:
            if spec.name not in tasks:
                tasks[spec.name] = progress.add_task(spec.name, total=1.0, facts="")
            progress.update(tasks[spec.name], completed=fraction, facts=f"{spec.licence}  {text}")

        prepare_models(names, settings.models_dir, show)


def _show_progress(name: str, state: str, seconds: float) -> None:
    _console.print(f"  {seconds:5.1f} s  {name:<12} {state}", highlight=False)
