"""HAProxy on one machine: a folder of its own, and nothing open to the network but the API."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.errors import NotHere
from deploy.local_haproxy import haproxy_environment
from deploy.platform import running_platform, update_platform
from deploy.ray_environment import ray_environment
from deploy.settings import load_settings

CONFIGURATION = """frontend prometheus
    bind :{metrics}
frontend http_frontend
    bind *:8000
listen stats
  bind *:{stats}
"""


def test_statistics_and_metrics_stay_on_the_machine(tmp_path: Path) -> None:
    with haproxy_environment() as names:
        metrics, stats = names["RAY_SERVE_HAPROXY_METRICS_PORT"], names["RAY_SERVE_HAPROXY_STATS_PORT"]
        path = tmp_path / "haproxy.cfg"
        path.write_text(CONFIGURATION.format(metrics=metrics, stats=stats))
        starter = names["RAY_SERVE_HAPROXY_BINARY_PATH"]
        done = subprocess.run([starter, "-v", "-f", str(path)], capture_output=True, text=True, timeout=60)
        assert "HAProxy version" in done.stdout, done.stderr  # the real one went on
        lines = [line.strip() for line in path.read_text().splitlines() if "bind" in line]
        assert lines == [f"bind 127.0.0.1:{metrics}", "bind *:8000", f"bind 127.0.0.1:{stats}"]


def test_its_folder_is_private_and_goes() -> None:
    with haproxy_environment() as names:
        folder = Path(names["RAY_SERVE_HAPROXY_BINARY_PATH"]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        for name, value in names.items():
            assert value.isdigit() or Path(value) == folder or Path(value).parent == folder, name
        # Serve puts a folder with a name of 56 between; HAProxy takes 97 characters.
        assert len(names["RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"]) + 57 <= 97
    assert not folder.exists()


@pytest.mark.parametrize(
    ("ingress", "expected"),
    [
        (
            "direct",
            {"RAY_SERVE_ENABLE_DIRECT_INGRESS": "1", "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "8123"},
        ),
        ("haproxy", {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "90"}),
        ("proxy", {"RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}),
    ],
)
def test_the_environment_follows_the_ingress(tmp_path: Path, ingress: str, expected: dict[str, str]) -> None:
    given = {"port": 8123, "data_dir": tmp_path, "ingress": ingress, "drain_seconds": 60}
    environment = ray_environment(load_settings(given))
    assert expected.items() <= environment.items()
    assert environment["RAY_AUTH_MODE"] == "token"
    if ingress != "direct":  # a port that is used again at once would get what was meant for another
        assert "RAY_SERVE_PORT_QUARANTINE_S" not in environment


def test_settings_for_a_cluster_start_nothing_here_and_those_for_here_update_nothing(tmp_path: Path) -> None:
    here = load_settings({"data_dir": tmp_path})
    with pytest.raises(NotHere, match="start Ray for themselves"):
        update_platform(here)
    with (
        pytest.raises(NotHere, match="manymodal deploy"),
        running_platform(here.model_copy(update={"ray_address": "head:6379"})),
    ):
        pytest.fail("must not start")


def test_a_gateway_that_listens_itself_cannot_begin_before_the_old_one_has_ended(tmp_path: Path) -> None:
    limits = {"max_ongoing_requests": 8, "max_queued_requests": 8}
    deployments = dict.fromkeys(("perception", "search", "engine"), limits)
    with pytest.raises(ValueError, match="surge_percent"):
        load_settings(
            {"data_dir": tmp_path, "deployments": {**deployments, "gateway": {**limits, "surge_percent": 25}}}
        )
