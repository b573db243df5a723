"""Handing the application to a Ray Serve that runs, and telling how its deployments get on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from deploy.errors import PlatformStartFailed
from deploy.settings import Settings

__all__ = ["Progress", "roll_out"]

Progress = Callable[[str, str, float], None]
"""Told a deployment's name, its new state, and the seconds since the start."""

_LOGS = "Run `manymodal doctor`; Ray's logs are in /tmp/ray/session_latest/logs."


def roll_out(
    settings: Settings,
    classes: Mapping[str, type] | None,
    on_progress: Progress,
    started: float,
    deadline: float,
) -> None:
    """Return when every replica is one of this application. Times as of ``time.perf_counter``.

    Raises ``PlatformStartFailed`` when a deployment does not come up, or not by ``deadline``.
    """
    from ray import serve

    from deploy.app import APPLICATION_NAME, build_application

    application = build_application(settings, classes)
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
                    on_progress(name, deployment.status.value.lower(), time.perf_counter() - started)
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
