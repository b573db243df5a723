"""Handing the application to Ray Serve: what is told meanwhile, and what is said when it does not come up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.app import APPLICATION_NAME
from deploy.errors import PlatformStartFailed
from deploy.rollout import roll_out
from deploy.settings import load_settings


class Word(str):
    """A status as Ray Serve has it: a string that is an enumeration's, too."""

    @property
    def value(self) -> str:
        return str(self)


def application(status: str, **deployments: str) -> SimpleNamespace:
    """What Ray Serve says: the application's status, and of each deployment its own, or why it is unhealthy."""
    found = {
        name: SimpleNamespace(
            status=Word("UNHEALTHY" if " " in said else said), message=said if " " in said else ""
        )
        for name, said in deployments.items()
    }
    return SimpleNamespace(status=Word(status), deployments=found)


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def rolled_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: list[tuple[str, str]]
) -> Iterator[Callable[..., int]]:
    """Rolls out on a Serve that says one after the other of what it is given, the last for ever; how often its
    proxies were waited for.
    """
    waited: list[bool] = []

    def wait_for_proxies_serving() -> None:
        waited.append(True)
        if ("proxy", "stuck") in told:
            raise TimeoutError("Proxies not available after 60s.")

    client = SimpleNamespace(wait_for_proxies_serving=wait_for_proxies_serving)
    handed: list[Any] = []
    monkeypatch.setattr("deploy.rollout._LOOK_SECONDS", 0.0)
    monkeypatch.setattr("deploy.app.build_application", lambda *_: "application")
    monkeypatch.setattr("ray.serve.context._get_global_client", lambda: client)
    monkeypatch.setattr("ray.serve.run_many", lambda targets, **_: handed.extend(targets))

    def roll(*said: Any, seconds: float = 60.0) -> int:
        states = iter(said)
        last = [said[-1]]

        def status() -> SimpleNamespace:
            now = next(states, last[0])
            return SimpleNamespace(applications={} if now is None else {APPLICATION_NAME: now})

        monkeypatch.setattr("ray.serve.status", status)
        now = time.perf_counter()
        settings = load_settings({"data_dir": tmp_path})
        roll_out(settings, None, lambda name, state, _: told.append((name, state)), now, now + seconds)
        return len(waited)

    yield roll
    assert [(target.target, target.name) for target in handed] == [("application", APPLICATION_NAME)]


def test_each_state_is_told_once_until_all_run(
    rolled_out: Callable[..., int], told: list[tuple[str, str]]
) -> None:
    starting = application("DEPLOYING", engine="UPDATING", search="HEALTHY")
    assert (
        rolled_out(None, starting, starting, application("RUNNING", engine="HEALTHY", search="HEALTHY")) == 1
    )
    assert told == [("engine", "updating"), ("search", "healthy"), ("engine", "healthy")]


def test_what_does_not_come_up_is_said_with_its_reason(rolled_out: Callable[..., int]) -> None:
    failed = application("DEPLOY_FAILED", engine="Traceback\nThe model is not there.", search="HEALTHY")
    with pytest.raises(PlatformStartFailed, match=r"did not start\. engine: The model is not there\."):
        rolled_out(application("DEPLOYING"), failed)


def test_without_a_reason_that_is_said(rolled_out: Callable[..., int]) -> None:
    with pytest.raises(PlatformStartFailed, match="gave no reason"):
        rolled_out(application("DEPLOY_FAILED"))


def test_what_takes_too_long_is_given_up(rolled_out: Callable[..., int]) -> None:
    with pytest.raises(PlatformStartFailed, match="within 300 seconds"):
        rolled_out(application("DEPLOYING"), seconds=0.0)


def test_what_takes_no_requests_in_is_said(
    rolled_out: Callable[..., int], told: list[tuple[str, str]]
) -> None:
    told.append(("proxy", "stuck"))
    with pytest.raises(PlatformStartFailed, match="What takes requests in did not start: Proxies"):
        rolled_out(application("RUNNING"))
