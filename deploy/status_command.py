"""``manymodal status``: whether a platform runs, how its parts are, and what memory it takes."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import psutil
import typer

from deploy.command_options import AsJson, DataDir, Port, Profile
from deploy.given_settings import given_settings
from deploy.running_record import RunningRecord, local_url, process_of, read_running
from serving.cli.exit_codes import ExitCode
from serving.cli.messages import note, print_table
from serving.cli.options import ApiKey

__all__ = ["status"]

# /ready waits 5 s for each part, all at once.
_TIMEOUT_SECONDS = 8.0
_STATES = ("ready", "degraded", "starting")


def status(
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="MANYMODAL_URL",
            help="Of a platform elsewhere (default: the one of the data folder).",
        ),
    ] = None,
    api_key: ApiKey = None,
    profile: Profile = None,
    port: Port = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the platform is ready, how its pools are, and what memory it takes.

    Pools and their calls need a key with the scope admin, where keys are on. The exit code is 0 when it is ready or
    can do without what is missing, 1 when it runs and is not ready, and 3 when nobody answers.
    """
    settings = given_settings(profile=profile, port=port, data_dir=data_dir)
    record = None if url else read_running(settings.data_dir)
    from serving.cli.client import base_url, is_loopback, usable_key

    address = base_url(url) if url else record.url if record else local_url(settings)
    key = usable_key(api_key)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(
        base_url=address, headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=not is_loopback(address)
    ) as client:
        state, deployments = _readiness(client)
        pools = _pools(client) if state in _STATES else None
    if state == "unreachable" and record is not None:
        state = "starting"
    found: dict[str, Any] = {
        "state": state,
        "url": address,
        "deployments": deployments,
        "pools": pools,
        **_process_facts(record),
    }
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print(found)
    if state in ("starting", "unreachable"):
        raise typer.Exit(ExitCode.FAILED if state == "starting" else ExitCode.NO_SERVER)


def _readiness(client: httpx.Client) -> tuple[str, dict[str, str]]:
    """What ``/ready`` says: a state, and each part's."""
    try:
        answer = client.get("/ready")
        said = answer.json()
        state, deployments = str(said["status"]), dict(said["deployments"])
    except httpx.TransportError:
        return "unreachable", {}
    except (ValueError, KeyError, TypeError):
        return "unreachable", {}  # another program's port
    return (state, deployments) if state in _STATES else ("unreachable", {})


def _pools(client: httpx.Client) -> list[dict[str, Any]] | None:
    """What the operator is told of the deployments; ``None`` without a key that may ask."""
    with contextlib.suppress(httpx.TransportError, ValueError, KeyError, TypeError):
        answer = client.get("/v1/admin/pools")
        if answer.is_success:
            return list(answer.json()["data"])
    return None


def _process_facts(record: RunningRecord | None) -> dict[str, Any]:
    """Of the process that was noted: since when it runs, and what it and all below it take of the memory."""
    nothing: dict[str, Any] = dict.fromkeys(("pid", "profile", "log", "since", "processes", "memory_bytes"))
    process = None if record is None else process_of(record)
    if record is None or process is None:
        return nothing
    taken, count = 0, 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                # Proportional: pages that processes share, as Ray's store, are counted once in the sum.
                taken += one.memory_full_info().pss
                count += 1
    return {
        "pid": record.pid,
        "profile": record.profile,
        "log": record.log,
        "since": datetime.fromtimestamp(record.began_at, UTC).isoformat(timespec="seconds"),
        "processes": count,
        "memory_bytes": taken,
    }


def _print(found: dict[str, Any]) -> None:
    if found["state"] == "unreachable":
        typer.echo(f"No platform answers at {found['url']}. `manymodal up` starts one in the background.")
        return
    typer.echo(f"{found['state']}: {found['url']}")
    if found["pid"] is not None:
        since = datetime.fromisoformat(found["since"])
        typer.echo(
            f"process {found['pid']}, profile {found['profile']}, up {_length(time.time() - since.timestamp())}, "
            f"{found['memory_bytes'] / (1 << 30):.1f} GiB of memory in {found['processes']} processes"
        )
        typer.echo(f"log: {found['log'] or 'the terminal where it was started'}")
    if found["pools"]:
        rows = [_pool_row(pool) for pool in found["pools"]]
        print_table(
            ("Pool", "Health", "Replicas", "At work", "Answered", "Failed", "p50", "p95"), rows, whole=8
        )
    elif found["deployments"]:
        print_table(("Part", "State"), list(found["deployments"].items()), whole=2)
    if found["pools"] is None:
        note("Pools and their calls need a key with the scope admin: MANYMODAL_API_KEY.", "dim")


def _pool_row(pool: dict[str, Any]) -> tuple[Any, ...]:
    replicas = ", ".join(f"{count} {state}" for state, count in pool["replicas"].items())
    calls = pool.get("calls")
    if calls is None:
        return pool["name"], pool["health"], replicas, "", "", "", "", ""
    latency = calls.get("latency_seconds") or {}
    times = tuple(f"{1000 * latency[name]:.0f} ms" if name in latency else "" for name in ("p50", "p95"))
    return (
        pool["name"],
        pool["health"],
        replicas,
        calls["ongoing"],
        calls["answered"],
        calls["failed"],
        *times,
    )


def _length(seconds: float) -> str:
    minutes = int(seconds) // 60
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{int(seconds)} s"
