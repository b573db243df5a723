"""Starting and stopping the whole platform on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.access import require_usable_key
from deploy.errors import NotHere, PlatformStartFailed, PortTaken
from deploy.local_haproxy import haproxy_environment
from deploy.ports import free_port, is_free
from deploy.ray_environment import ray_environment
from deploy.rollout import Progress, roll_out
from deploy.running_record import local_url
from deploy.settings import Settings

__all__ = ["Platform", "running_platform", "update_platform"]


@dataclass(frozen=True, slots=True)
class Platform:
    """A running platform: where it answers and how long it took to get ready."""

    base_url: str
    start_seconds: float


@contextlib.contextmanager
def running_platform(
    settings: Settings,
    on_progress: Progress = lambda name, state, seconds: None,
    classes: Mapping[str, type] | None = None,
) -> Iterator[Platform]:
    """Start Ray and every deployment, yield once ``/ready`` says so, and stop everything at the end.

    Leaving the context drains: running answers may finish within ``drain_seconds``. ``on_progress`` is told
    each deployment's state as it changes. ``classes`` are those of ``build_application``. Raises ``NotHere``,
    ``PortTaken``, ``NoApiKeys`` or ``PlatformStartFailed``.
    """
    started = time.perf_counter()

    if settings.ray_address != "local":
        raise NotHere(
            f"These settings join the Ray cluster at {settings.ray_address}, which goes on without this command: "
            "use `manymodal deploy`, or set ray_address to local."
        )
    require_usable_key(settings)
    if not is_free(settings.host, settings.port):
        raise PortTaken(
            f"Port {settings.port} on {settings.host} is already in use. "
            "Stop what uses it or choose another port (--port)."
        )
    with contextlib.ExitStack() as rest:
        # Ray, Serve and vLLM read these when they are imported, here and in every process started from here.
        os.environ.update(ray_environment(settings))
        if settings.ingress == "haproxy":
            os.environ.update(rest.enter_context(haproxy_environment()))
        import ray
        from ray import serve

        _quiet()
        # Before Ray stops, whatever happens; the folder of HAProxy goes after it.
        rest.callback(_stop, settings.drain_seconds)
        try:
            with _signals_stay():
                ray.init(
                    "local",
                    num_cpus=max(2, os.cpu_count() or 2),
                    object_store_memory=settings.object_store_bytes,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except Exception as error:  # of no class of its own where a machine is too busy to start it in time
            raise PlatformStartFailed(
                f"Ray did not start on this machine: {_first_line(error)} Is it very busy, or short of memory? "
                "Please try again; `manymodal doctor` says what is missing."
            ) from error
        on_progress("ray", "running", time.perf_counter() - started)
        serve.start(
            proxy_location="HeadOnly",
            http_options=_http_options(settings),
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        deadline = started + settings.start_timeout_seconds
        roll_out(settings, classes, on_progress, started, deadline)
        base_url = local_url(settings)
        _wait_until_ready(base_url, deadline)
        yield Platform(base_url, time.perf_counter() - started)


def update_platform(
    settings: Settings,
    on_progress: Progress = lambda name, state, seconds: None,
    classes: Mapping[str, type] | None = None,
) -> float:
    """Bring the application on a running Ray to ``settings``, or start it there; how many seconds that took.

    Joins Ray at ``ray_address`` unless this process has already. Replicas that change are replaced a part at a
    time: an old one ends when what it answers has ended, at most after ``drain_seconds``. Returns when all are new.
    How requests reach the gateways (``ingress``, ``host``, ``port``) is settled when Ray Serve starts. Raises
    ``NotHere`` when there is no Ray to join, ``NoApiKeys`` and ``PlatformStartFailed``.
    """
    started = time.perf_counter()
    require_usable_key(settings)
    os.environ.update(ray_environment(settings))
    import ray
    from ray import serve
    from ray.exceptions import RayError

    _quiet()
    if not ray.is_initialized():
        if settings.ray_address == "local":
            raise NotHere("There is no platform to update: these settings start Ray for themselves.")
        try:
            # Not by what a Ray that ran here once left behind, nor by RAY_ADDRESS, unless "auto" asks for it.
            ray.init(settings.ray_address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise NotHere(
                f"No Ray cluster answers at {settings.ray_address}: {_first_line(error)} "
                "See `ray status`; all of its machines need the same token (RAY_AUTH_TOKEN or ~/.ray/auth_token)."
            ) from error
        on_progress("ray", "joined", time.perf_counter() - started)
        serve.start(
            proxy_location="EveryNode",
            http_options=_http_options(settings),
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    roll_out(settings, classes, on_progress, started, started + settings.start_timeout_seconds)
    return time.perf_counter() - started


def _http_options(settings: Settings) -> dict[str, Any]:
    """Where the gateway listens itself, Serve's own proxy is not used but cannot be left out: it must not take the
    API's port first.
    """
    return {
        "host": settings.host,
        "port": free_port() if settings.ingress == "direct" else settings.port,
    }


@contextlib.contextmanager
def _signals_stay() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it begins: this process would end with 15 for its exit code, whatever
    whoever started it wanted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        if ended.code == signal.SIGTERM and callable(before):  # it came while Ray began
            before(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _quiet() -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _stop(drain_seconds: float) -> None:
    """Not serve.shutdown(): it waits 30 s at most, and Ray stops the controller and the rest in any case."""
    import ray

    if ray.is_initialized():
        try:
            _drain(drain_seconds)
        finally:
            ray.shutdown()


def _drain(drain_seconds: float) -> None:
    """Take the application away; its replicas finish what they are answering, at most ``drain_seconds``."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    from deploy.app import APPLICATION_NAME

    deadline = time.perf_counter() + drain_seconds + 5
    try:
        serve.delete(APPLICATION_NAME, _blocking=False)
        while APPLICATION_NAME in serve.status().applications and time.perf_counter() < deadline:
            time.sleep(0.2)
    except RayServeException:
        return  # Serve had not started yet: there is nothing to drain


def _wait_until_ready(base_url: str, deadline: float) -> None:
    answer = "no answer"
    while time.perf_counter() < deadline:
        try:
            response = httpx.get(f"{base_url}/ready", timeout=10, trust_env=False)
            if response.status_code == httpx.codes.OK:
                return
            answer = response.text
        except httpx.TransportError as error:
            answer = type(error).__name__
        time.sleep(0.2)
    raise PlatformStartFailed(
        f"The platform started but did not become ready in time. It last said: {answer}"
    )
