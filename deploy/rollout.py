"""Handing the application to a Ray Serve that runs, and telling how its deployments get on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from deploy.errors import PlatformStartFailed
from deploy.settings import Settings

__all__ = ["Progress", "roll_out"]

Progress = Callable[[str, str, float], None]
"""Told a deployment's name, its new state, and the seconds since the start."""

_LOOK_SECONDS = 0.5
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
    from ray.serve.context import _get_global_client

    from deploy.app import APPLICATION_NAME, build_application

    # All in this thread: one that still asks Ray while a signal makes this one stop Ray would abort the process.
    serve.run_many(
        [serve.RunTarget(build_application(settings, classes), APPLICATION_NAME)],
        wait_for_applications_running=False,
    )
    seen: dict[str, str] = {}
    while True:
        status, deployments = _application()
        for name, deployment in deployments.items():
            if seen.get(name) != deployment.status:
                seen[name] = deployment.status
                on_progress(name, deployment.status.value.lower(), time.perf_counter() - started)
        if status == "RUNNING":
            break
        if status == "DEPLOY_FAILED":
            raise PlatformStartFailed(f"The platform did not start. {_reasons(deployments)} {_LOGS}")
        if time.perf_counter() > deadline:
            raise PlatformStartFailed(
                f"The platform did not start within {settings.start_timeout_seconds} seconds. {_LOGS}"
            )
        time.sleep(_LOOK_SECONDS)
    try:
        _get_global_client().wait_for_proxies_serving()
    except TimeoutError as error:
        raise PlatformStartFailed(f"What takes requests in did not start: {error} {_LOGS}") from error


def _reasons(deployments: Mapping[str, Any]) -> str:
    """What Ray Serve says of the deployments that did not come up."""
    reasons = [
        f"{name}: {deployment.message.strip().splitlines()[-1]}"
        for name, deployment in deployments.items()
        if deployment.message.strip()
    ]
    return " ".join(reasons) or "Ray Serve gave no reason."


def _application() -> tuple[str, Mapping[str, Any]]:
    """Ray Serve's status of the application, and of each of its deployments by name."""
    from ray import serve

    from deploy.app import APPLICATION_NAME

    application = serve.status().applications.get(APPLICATION_NAME)
    return ("NOT_STARTED", {}) if application is None else (application.status.value, application.deployments)
