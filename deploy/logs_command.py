"""``manymodal logs``: what the platform in the background says, and what each of its deployments logs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import psutil
import typer

from deploy.command_options import AsJson, DataDir, Profile
from deploy.errors import NotHere
from deploy.given_settings import given_settings
from deploy.log_tail import last_lines, new_lines
from deploy.running_record import log_file, process_of, read_running
from serving.cli.messages import harmless

__all__ = ["deployment_logs", "logs"]

_POLL_SECONDS = 0.3
_HEAD_BYTES = 4096
_NAMED = ":actor_name:ServeReplica:"


def logs(
    deployment: Annotated[
        str | None,
        typer.Argument(
            metavar="DEPLOYMENT",
            help="What the replicas of one log (gateway, engine, perception ...), or `all`. Without: the lines of "
            "the command itself.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines come, until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last ones.")] = 50,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what the platform says. --json prints an object a line, with `file` and `line`.

    The gateway logs a line for each request, without prompts and media. Logs of deployments are those of the
    platform that runs now; what `up` wrote stays after it ended.
    """
    settings = given_settings(profile=profile, data_dir=data_dir)
    files = (
        [log_file(settings.data_dir)]
        if deployment is None
        else _replicas_files(settings.data_dir, deployment)
    )
    if not any(file.exists() for file in files):
        raise NotHere(
            f"There is no log in {settings.data_dir}: nothing was started there with `manymodal up`. A platform "
            "that `manymodal serve` started writes to its terminal."
        )
    several = len(files) > 1
    places = {file: file.stat().st_size if file.exists() else 0 for file in files}
    for file in files:
        _print(file, last_lines(file, lines, places[file]), several, as_json)
    while follow:
        time.sleep(_POLL_SECONDS)
        for file in files:
            found, places[file] = new_lines(file, places[file])
            _print(file, found, several, as_json)


def deployment_logs(session: Path) -> Iterator[tuple[str, Path]]:
    """The logs of a Ray session's replicas, each with its deployment's name: it stands where the file begins."""
    for file in sorted((session / "logs").glob("worker-*.err"), key=lambda one: one.stat().st_mtime):
        with file.open("rb") as content:
            head = content.read(_HEAD_BYTES).decode("utf-8", "replace")
        for line in head.splitlines():
            if line.startswith(_NAMED):
                # ServeReplica:<application>:<deployment>
                yield line.removeprefix(_NAMED).split(":")[1].split("#")[0], file
                break


def _replicas_files(data_dir: Path, deployment: str) -> list[Path]:
    """Raises ``NotHere`` when no platform runs, or it has no such deployment."""
    record = read_running(data_dir)
    process = None if record is None else process_of(record)
    session = None if process is None else _session(process)
    if session is None:
        raise NotHere(
            f"No platform runs with the data folder {data_dir}, so its deployments have no logs here. Those of "
            "earlier ones lie below /tmp/ray."
        )
    found = list(deployment_logs(session))
    wanted = [file for name, file in found if deployment in (name, "all")]
    if not wanted:
        names = ", ".join(sorted({name for name, _ in found})) or "none"
        raise NotHere(f"There is no deployment '{deployment}' with a log; there are: {names}.")
    return wanted


def _session(process: psutil.Process) -> Path | None:
    """The folder of the Ray session that a process started."""
    try:
        for one in process.children(recursive=True):
            if one.name() == "raylet":
                for word in one.cmdline():
                    if word.startswith("--session_dir="):
                        return Path(word.partition("=")[2])
    except psutil.Error:
        return None
    return None


def _print(file: Path, found: list[str], several: bool, as_json: bool) -> None:
    terminal = sys.stdout.isatty()
    for line in found:
        if as_json:
            typer.echo(json.dumps({"file": file.name, "line": line}))
            continue
        shown = f"{file.stem.rpartition('-')[2]}  {line}" if several else line  # the process's id
        typer.echo(harmless(shown) if terminal else shown)
