"""``manymodal up`` and ``manymodal down``: the platform in the background."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import httpx
import psutil
import typer

from deploy.command_options import AsJson, DataDir, Host, ModelsDir, Port, Profile
from deploy.errors import AlreadyRunning, NotHere, NotStopped, PlatformStartFailed, PortTaken
from deploy.given_settings import given_settings
from deploy.log_tail import last_lines, new_lines
from deploy.ports import is_free
from deploy.prepare_progress import prepare_with_progress
from deploy.running_record import (
    RunningRecord,
    forget_running,
    local_url,
    log_file,
    note_running,
    one_starts,
    process_of,
    read_running,
)
from deploy.settings import Settings
from serving.cli.messages import note, notes

__all__ = ["down", "started_platform", "stop_platform", "up"]

_SHOWN_LINES = 12
_POLL_SECONDS = 0.25
# The command itself gives up when start_timeout_seconds are over; this is for one that hangs before it counts.
_START_MARGIN_SECONDS = 120.0
_STOP_MARGIN_SECONDS = 60.0


def up(
    profile: Profile = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Start the platform in the background, and return when it is ready. `manymodal down` stops it.

    Its lines go to run/serve.log in the data folder (`manymodal logs`). One platform runs with a data folder.
    """
    from deploy.access import require_usable_key

    settings = given_settings(profile=profile, host=host, port=port, data_dir=data_dir, models_dir=models_dir)
    if settings.ray_address != "local":
        raise NotHere(
            f"These settings join the Ray cluster at {settings.ray_address}, which runs by itself: use "
            "`manymodal deploy`, or set ray_address to local."
        )
    folder = settings.make_data_dir()
    with one_starts(folder):
        if (record := read_running(folder)) is not None:
            raise AlreadyRunning(
                f"A platform runs with the data folder {folder} already: {record.url} (process {record.pid}). "
                "`manymodal status` says how it is, `manymodal down` stops it."
            )
        require_usable_key(settings)
        if not is_free(settings.host, settings.port):
            raise PortTaken(
                f"Port {settings.port} on {settings.host} is already in use. Stop what uses it or choose another "
                "port (--port)."
            )
        prepare_with_progress(settings, settings.model_names())
        given = {"profile": profile, "host": host, "port": port, "models-dir": models_dir}
        options = [f"--{name}={value}" for name, value in given.items() if value is not None]
        # -P: a folder named deploy where this is called must not be taken for ours.
        command = [sys.executable, "-P", "-m", "deploy", "serve", f"--data-dir={folder}", *options]
        began = time.monotonic()
        record, _ = started_platform(command, settings, lambda line: note(line, "dim"))
        seconds = time.monotonic() - began
    if as_json:
        found = {"url": record.url, "pid": record.pid, "log": record.log, "start_seconds": round(seconds, 1)}
        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo(record.url)
        note(
            f"Ready in {seconds:.0f} s. `manymodal status` says how it is, `manymodal down` stops it.",
            "green",
        )


def down(
    now: Annotated[
        bool,
        typer.Option("--now", help="Do not let running answers finish, and end what does not end by itself."),
    ] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Stop the platform: running answers may finish, within drain_seconds; then everything ends.

    When none runs there is nothing to do, which is no failure.
    """
    settings = given_settings(profile=profile, data_dir=data_dir)
    record = read_running(settings.data_dir)
    if record is None:
        if as_json:
            typer.echo(json.dumps({"stopped": False, "reason": "none runs"}))
        else:
            note(f"No platform runs with the data folder {settings.data_dir}.")
        return
    began = time.monotonic()
    with notes().status("Draining: running answers may finish"):
        stop_platform(settings.data_dir, record, settings.drain_seconds + _STOP_MARGIN_SECONDS, now=now)
    seconds = time.monotonic() - began
    if as_json:
        typer.echo(json.dumps({"stopped": True, "pid": record.pid, "seconds": round(seconds, 1)}))
    else:
        note(f"Stopped after {seconds:.0f} s.", "green")


def started_platform(
    command: list[str], settings: Settings, on_line: Callable[[str], None]
) -> tuple[RunningRecord, subprocess.Popen[bytes]]:
    """Start ``command`` in a session of its own, note it, and wait until ``/ready`` answers. Its lines go to the
    log and, while this waits, to ``on_line``.

    Raises ``PlatformStartFailed`` with the last of them when it ends before, or hangs. Whatever is raised, Ctrl-C
    included, nothing is left running.
    """
    log = log_file(settings.data_dir)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("wb") as lines:
        child = subprocess.Popen(  # noqa: S603 -- our own command
            command, stdin=subprocess.DEVNULL, stdout=lines, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = local_url(settings)
    record = RunningRecord.of(psutil.Process(child.pid), url, settings.profile, log)
    deadline = time.monotonic() + settings.start_timeout_seconds + _START_MARGIN_SECONDS
    place = 0
    try:
        note_running(settings.data_dir, record)
        while True:
            ready = _is_ready(url)
            found, place = new_lines(log, place)
            for line in found:
                on_line(line)
            if child.poll() is not None:
                raise PlatformStartFailed(
                    _why_not(log, f"The platform ended with exit code {child.returncode}.")
                )
            if ready:
                return record, child
            if time.monotonic() > deadline:
                raise PlatformStartFailed(
                    _why_not(log, "The platform was not ready in time and was stopped.")
                )
            time.sleep(_POLL_SECONDS)
    except BaseException:
        if child.poll() is None:
            note("Stopping what was started.")
        with contextlib.suppress(NotStopped):
            stop_platform(settings.data_dir, record, _STOP_MARGIN_SECONDS, now=True)
        child.poll()
        raise


def stop_platform(data_dir: Path, record: RunningRecord, seconds: float, *, now: bool) -> None:
    """Ask the platform's process to drain and stop, and wait until it and all below it have ended.

    With ``now`` it is asked to stop at once, and killed with all below it after ``seconds``. Raises ``NotStopped``
    when it still runs then, or may not be stopped by this user.
    """
    process = process_of(record)
    if process is None:
        forget_running(data_dir, record.pid)
        return
    below: list[psutil.Process] = []
    try:
        below = process.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        if now:
            # The first one lets answers finish; the second does not. Between them it must have seen the first.
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(1)
            if process.is_running():
                below = list(
                    {*below, *process.children(recursive=True)}
                )  # it may still have been starting some
                process.send_signal(signal.SIGTERM)
    except psutil.AccessDenied:
        raise NotStopped(f"Process {record.pid} belongs to somebody else; stop it as that user.") from None
    except psutil.NoSuchProcess:
        pass  # it has ended meanwhile; those below it may not have
    _, alive = psutil.wait_procs([process, *below], timeout=seconds)
    if alive and now:
        for one in alive:
            with contextlib.suppress(psutil.Error):
                one.kill()
        _, alive = psutil.wait_procs(alive, timeout=10)
    if alive:
        raise NotStopped(
            f"The platform (process {record.pid}) still runs after {seconds:.0f} s. Wait, or end it with "
            "`manymodal down --now`."
        )
    forget_running(data_dir, record.pid)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=6.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _why_not(log: Path, what: str) -> str:
    lines = [line for line in last_lines(log, _SHOWN_LINES) if line.strip()]
    said = "".join(f"\n  {line}" for line in lines)
    return (
        f"{what} It last said:{said}\nAll it said is in {log}. `manymodal doctor` looks for what is missing on "
        "this machine."
    )
