"""`manymodal doctor`: what it finds well, what it finds missing, and its advice."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from cluster_settings import CLUSTER
from typer.testing import CliRunner

from deploy import doctor, profile_findings
from deploy.cli import app
from deploy.doctor import examine
from deploy.finding import Finding
from deploy.settings import load_settings


def findings(**options: object) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(load_settings(options))}


@pytest.fixture(autouse=True)
def _no_imports_of_heavy_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    # torchvision and friends would be imported in a process of their own, for seconds each.
    monkeypatch.setattr(doctor, "_BREAKS_TRANSFORMERS", ())


def test_what_is_installed_is_said_with_its_version(tmp_path: Path) -> None:
    found = findings(data_dir=tmp_path)
    for name in ("Python", "ray", "torch", "decoder", "vector index", "OpenCV", "libnuma"):
        assert found[name].state == "ok", found[name]


def test_a_model_that_is_not_prepared_says_what_to_run(tmp_path: Path) -> None:
    found = findings(data_dir=tmp_path, models_dir=tmp_path / "empty")["model whisper-base"]
    assert found.state == "missing"
    assert "manymodal models prepare whisper-base" in found.advice


def test_a_model_nobody_knows_does_not_end_the_examination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANYMODAL_ENCODERS__SPEECH", "whisper-gigantic")
    found = findings(data_dir=tmp_path)
    assert found["model whisper-gigantic"].state == "missing"
    assert "port" in found


def test_a_package_that_is_missing_is_advised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", {"no-such-package": "testing"})
    assert "pip install no-such-package" in findings(data_dir=tmp_path)["no-such-package"].advice


def test_two_packages_that_overwrite_each_other_are_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        doctor, "_ALTERNATIVES", {"client": ("httpx", "aiohttp"), "none": ("no-such-package",)}
    )
    found = findings(data_dir=tmp_path)
    assert found["client"].state == "warning"
    assert found["none"].state == "missing"


def test_a_broken_import_is_found_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "_BREAKS_TRANSFORMERS", ("broken-package",))
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
    assert findings(data_dir=tmp_path)["broken-package"].advice == "pip uninstall broken-package"


def test_a_taken_port_is_a_warning(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert findings(data_dir=tmp_path, port=taken.getsockname()[1])["port"].state == "warning"


def test_the_command_prints_json_and_fails_when_something_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["doctor", "--json", "--data-dir", str(tmp_path), "--models-dir", str(tmp_path / "empty")]
    )
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert {"what", "state", "facts", "advice"} == set(rows[0])


def test_a_wrong_setting_is_one_sentence_and_exit_code_2() -> None:
    result = CliRunner().invoke(app, ["doctor", "--profile", "huge"])
    assert result.exit_code == 2
    assert "There is no profile named 'huge'" in result.stderr


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Settings of the profile, and a machine with neither a cluster nor a token; gives a folder for both."""
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor, "_bucket", lambda settings: Finding("object store", "ok", ""))
    monkeypatch.setattr(profile_findings, "_CURRENT_CLUSTER", tmp_path / "ray_current_cluster")
    monkeypatch.setattr(profile_findings, "_TOKEN_FILE", tmp_path / "auth_token")
    return tmp_path


def test_what_a_profile_takes_of_memory_is_what_its_models_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_findings.os, "sysconf", lambda name: 1 << 16)  # four GiB
    assert "laptop wants about 6 GiB" in findings(data_dir=tmp_path)["memory"].advice
    assert "laptop-hub wants about 11 GiB" in (
        findings(data_dir=tmp_path, profile="laptop-hub")["memory"].advice
    )
    monkeypatch.setattr(profile_findings.os, "sysconf", lambda name: 1 << 17)  # sixteen
    assert findings(data_dir=tmp_path, profile="laptop-hub")["memory"].state == "ok"


def test_gpus_are_counted_where_a_profile_reserves_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "GPU" not in findings(data_dir=tmp_path)
    monkeypatch.setattr(profile_findings.shutil, "which", lambda name: None)
    found = findings(data_dir=tmp_path, profile="gpu")["GPU"]
    assert (found.state, found.facts) == ("missing", "none found")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\n", "utf-8")
    program.chmod(0o700)
    monkeypatch.setattr(profile_findings.shutil, "which", lambda name: str(program))
    found = findings(data_dir=tmp_path, profile="gpu")["GPU"]
    assert (found.state, found.facts) == ("ok", "1 found (NVIDIA H200, 143771 MiB)")
    program.write_text("#!/bin/sh\nexit 9\n", "utf-8")  # no driver
    assert findings(data_dir=tmp_path, profile="gpu")["GPU"].state == "missing"


def test_a_cluster_that_is_not_there_is_missing(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(**options: object) -> Finding:
        return findings(data_dir=cluster, profile="cluster", **options)["Ray"]

    assert "no cluster runs on this machine" in found().facts
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{head.getsockname()[1]}"
        (cluster / "ray_current_cluster").write_text(address, "utf-8")
        assert found().state == "missing"  # what the file says is gone
        head.listen()
        assert found().facts == f"the cluster at {address} answers"
        assert found(ray_address=address).state == "ok"
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001x")
    assert found().state == "warning"


def test_a_cluster_has_a_token(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> Finding:
        return findings(data_dir=cluster, profile="cluster")["Ray's token"]

    assert "ray get-auth-token --generate" in found().advice
    (cluster / "auth_token").write_text("the-token", "utf-8")
    assert found().state == "ok"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(cluster / "elsewhere"))
    assert found().state == "missing"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another-token")
    assert (found().state, found().facts) == ("ok", "in RAY_AUTH_TOKEN")  # that it is there, not what it is


def test_haproxy_is_looked_for_where_it_stands_in_front(tmp_path: Path) -> None:
    assert "HAProxy" not in findings(data_dir=tmp_path)
    assert findings(data_dir=tmp_path, ingress="haproxy")["HAProxy"].state == "ok"


def test_variables_without_effect_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYMODAL_TYPO", "1")
    assert findings(data_dir=tmp_path)["variable MANYMODAL_TYPO"].state == "warning"
