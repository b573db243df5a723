"""``manymodal serve`` and ``manymodal demo``: the platform in the foreground."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict

import psutil
import typer
from rich.console import Console

from deploy.command_options import AsJson, DataDir, Host, ModelsDir, Port, Profile
from deploy.given_settings import given_settings
from deploy.prepare_progress import prepare_with_progress
from deploy.running_record import RunningRecord, forget_running, local_url, note_running, read_running
from deploy.settings import Settings

__all__ = ["demo", "serve"]

_console = Console()
_errors = Console(stderr=True)


def serve(
    profile: Profile = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Start the platform and keep serving until Ctrl-C, which drains and stops everything.

    `manymodal up` does the same in the background. --json prints an object a line: `state` for each deployment as
    it changes, `ready` with the address, `draining`, `stopped`.
    """
    from deploy.platform import running_platform

    settings = given_settings(profile=profile, host=host, port=port, data_dir=data_dir, models_dir=models_dir)
    prepare_with_progress(settings, settings.model_names())
    # A service manager's SIGTERM means what Ctrl-C means.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tell = _tell_json if as_json else _tell
    progress = _show_progress(tell)
    with (
        contextlib.suppress(KeyboardInterrupt),
        _noted(settings),
        running_platform(settings, progress) as platform,
    ):
        tell("ready", url=platform.base_url, seconds=platform.start_seconds)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            tell("draining", at_most_seconds=settings.drain_seconds)
    tell("stopped")


def demo(
    profile: Profile = None,
    port: Port = None,
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Start the platform, run a tour over sample media, and stop it. With --json the figures alone are printed."""
    from deploy.access import temporary_key
    from deploy.demo.samples import make_samples
    from deploy.demo.tour import run_tour
    from deploy.platform import running_platform

    settings = given_settings(profile=profile, port=port, data_dir=data_dir, models_dir=models_dir)
    prepare_with_progress(settings, settings.model_names())
    samples = make_samples(settings.make_data_dir() / "samples")
    shown = _errors if as_json else _console
    progress = _show_progress(lambda event, **facts: _tell_on(shown, event, **facts))
    with running_platform(settings, progress) as platform:
        shown.print(f"[bold green]Ready[/] in {platform.start_seconds:.0f} s: {platform.base_url}\n")
        with temporary_key(settings) as key:
            report = run_tour(platform.base_url, samples, shown, key)
    if as_json:
        typer.echo(json.dumps({"start_seconds": platform.start_seconds, **asdict(report)}, indent=2))
    shown.print("Stopped. Keep it running with [bold]make serve[/].")


@contextlib.contextmanager
def _noted(settings: Settings) -> Iterator[None]:
    """While this runs, `manymodal status`, `logs` and `down` find it. One that is noted already stays noted."""
    folder, me = settings.make_data_dir(), psutil.Process()
    if read_running(folder) is None:
        note_running(folder, RunningRecord.of(me, local_url(settings), settings.profile, None))
    try:
        yield
    finally:
        forget_running(folder, me.pid)


def _show_progress(tell: Callable[..., None]) -> Callable[[str, str, float], None]:
    return lambda name, state, seconds: tell("state", deployment=name, state=state, seconds=seconds)


def _tell_json(event: str, **facts: object) -> None:
    typer.echo(json.dumps({"event": event, **facts}))


def _tell(event: str, **facts: object) -> None:
    _tell_on(_console, event, **facts)


def _tell_on(console: Console, event: str, **facts: object) -> None:
    url = facts.get("url")
    if event == "state":
        console.print(
            f"  {facts['seconds']:5.1f} s  {facts['deployment']:<12} {facts['state']}", highlight=False
        )
    elif event == "ready":
        console.print(
            f"\n[bold green]Ready[/] in {facts['seconds']:.0f} s: [bold]{url}[/]  (Ctrl-C stops)\n\n"
            f"curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
            '  -d \'{"model": "default", "messages": [{"role": "user", "content": "Say hello."}]}\'\n',
            highlight=False,
            soft_wrap=True,
        )
    elif event == "draining":
        console.print("\nDraining: running answers may finish. Ctrl-C again stops at once.")
    else:
        console.print("Stopped.")
