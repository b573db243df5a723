"""Joining a cluster that runs: what Ray Serve is started with there, and what is said when nobody lets us in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cluster_settings import CLUSTER
from fake_ray import exceptions

from deploy.errors import NotHere
from deploy.platform import update_platform
from deploy.settings import Settings, load_settings


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A Ray that is joined without one; ``init`` may be set, ``started`` is what Serve was started with."""
    joined = SimpleNamespace(init=lambda *_, **__: None, started={})
    monkeypatch.setattr("deploy.platform.ray_environment", lambda _: {})
    monkeypatch.setattr("deploy.platform.require_usable_key", lambda _: None)
    monkeypatch.setattr("deploy.platform.roll_out", lambda *_: None)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda *given, **named: joined.init(*given, **named))
    monkeypatch.setattr("ray.serve.start", lambda **named: joined.started.update(named))
    return joined


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)

    def of(**given: Any) -> Settings:
        return load_settings({"profile": "cluster", "data_dir": tmp_path, "port": 8123, **given})

    return of


@pytest.mark.parametrize(
    "error",
    [exceptions.AuthenticationError("No token was found."), ConnectionError("No token was found.")],
    ids=lambda error: type(error).__name__,
)
def test_who_is_not_let_in_is_told_why(joined: SimpleNamespace, settings: Any, error: Exception) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    joined.init = refuse
    with pytest.raises(NotHere, match=r"No token was found\..*the same token"):
        update_platform(settings())


def test_serves_own_proxy_leaves_the_apis_port_to_gateways_that_listen_themselves(
    joined: SimpleNamespace, settings: Any
) -> None:
    update_platform(settings())
    assert joined.started["http_options"]["port"] == 8123
    gateway = settings().deployments["gateway"].model_dump() | {"surge_percent": 0}
    update_platform(settings(ingress="direct", deployments={"gateway": gateway}))
    assert joined.started["http_options"]["port"] != 8123
