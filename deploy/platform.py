"""Starting and stopping the whole platform on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.access import require_usable_key
from deploy.errors import PlatformStartFailed, PortTaken
from deploy.ports import free_port, is_free
from deploy.ray_environment import ray_environment
from deploy.settings import Settings

__all__ = ["Platform", "running_platform"]

Progress = Callable[[str, str, float], None]
"""Told a deployment's name, its new state, and the seconds since the start."""

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - compared with, not listened on

_LOGS = "Run `manymodal doctor`; Ray's logs are in /tmp/ray/session_latest/logs."


@dataclass(frozen=True, slots=True)
class Platform:
    """A running platform: where it answers and how long it took to get ready."""

    base_url: str
    start_seconds: float


@contextlib.contextmanager
def running_platform(
    settings: Settings,
    on_progress: Progress = lambda name, state, seconds: None,
) -> Iterator[Platform]:
    """Start Ray and every deployment, yield once ``/ready`` says so, and stop everything at the end.

    Leaving the context drains: running answers may finish within ``drain_seconds``. ``on_progress`` is told
    each deployment's state as it changes. Raises ``PortTaken``, ``NoApiKeys`` or ``PlatformStartFailed``.
    """
    started = time.perf_counter()

    def report(name: str, state: str) -> None:
        on_progress(name, state, time.perf_counter() - started)

    require_usable_key(settings)
    if not is_free(settings.host, settings.port):
        raise PortTaken(
            f"Port {settings.port} on {settings.host} is already in use. "
            "Stop what uses it or choose another port (--port)."
        )
    # Ray, Serve and vLLM read these when they are imported, here and in every process started from here.
    os.environ.update(ray_environment(settings))
    import ray
    from ray import serve

    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        ray.init(
            "local",
            num_cpus=max(2, os.cpu_count() or 2),
            object_store_memory=settings.object_store_bytes,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        report("ray", "running")
        serve.start(
            proxy_location="HeadOnly",
            # Serve's own proxy is not used (the gateway listens itself) but cannot be left out.
            http_options={"host": settings.host, "port": free_port()},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        deadline = started + settings.start_timeout_seconds
        _run(settings, report, deadline)
        host = "127.0.0.1" if settings.host == _EVERYWHERE else settings.host
        base_url = f"http://{host}:{settings.port}"
        _wait_until_ready(base_url, deadline)
        yield Platform(base_url, time.perf_counter() - started)
    finally:
        # Not serve.shutdown(): it waits 30 s at most, and Ray stops the controller and the rest in any case.
        if ray.is_initialized():
            try:
                _drain(settings.drain_seconds)
            finally:
                ray.shutdown()


def _run(settings: Settings, report: Callable[[str, str], None], deadline: float) -> None:
    from ray import serve

    from deploy.app import APPLICATION_NAME, build_application

    application = build_application(settings)
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="serve-run")
    try:
        running = pool.submit(serve.run, application, name=APPLICATION_NAME)
        seen: dict[str, str] = {}
        while not wait([running], timeout=0.5).done:
            if time.perf_counter() > deadline:
                raise PlatformStartFailed(
                    f"The platform did not start within {settings.start_timeout_seconds} seconds. {_LOGS}"
                )
            for name, deployment in _deployments().items():
                if seen.get(name) != deployment.status:
                    seen[name] = deployment.status
                    report(name, deployment.status.value.lower())
        try:
            running.result()
        except RuntimeError as error:
            reasons = [
                f"{name}: {deployment.message.strip().splitlines()[-1]}"
                for name, deployment in _deployments().items()
                if deployment.message.strip()
            ]
            raise PlatformStartFailed(
                "The platform did not start. "
                + (" ".join(reasons) or "Ray Serve gave no reason.")
                + f" {_LOGS}"
            ) from error
    finally:
        pool.shutdown(wait=False)  # Ctrl-C must not wait for deployments that are still loading


def _deployments() -> dict[str, Any]:
    """Ray Serve's status of each of the application's deployments, by name."""
    from ray import serve

    from deploy.app import APPLICATION_NAME

    application = serve.status().applications.get(APPLICATION_NAME)
    return application.deployments if application else {}


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
