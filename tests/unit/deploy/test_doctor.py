"""`manymodal doctor`: what it finds well, what it finds missing, and its advice."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy import doctor
from deploy.cli import app
from deploy.doctor import Finding, examine
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
