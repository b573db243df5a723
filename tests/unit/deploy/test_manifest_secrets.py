"""Secrets that the manifests name, and the script that makes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from manifests import KUBERAY, OVERLAYS, SECRETS, rendered

ROOT = KUBERAY.parents[1]


_KUBECTL = """#!/bin/sh
# A cluster that is a folder: `create secret generic NAME --from-file=KEY=PATH ...` and `get secret NAME`.
case "$*" in
  "get namespace "*) exit 0 ;;
  *" get secret "*) for last; do :; done; test -d "$CLUSTER/$last" ;;
  *" create secret generic "*)
    shift 5; mkdir "$CLUSTER/$1"; name=$1; shift
    for given; do pair=${given#--from-file=}; cp "${pair#*=}" "$CLUSTER/$name/${pair%%=*}"; done ;;
  *) exit 64 ;;
esac
"""


def run_make_secrets(folder: Path, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script against a cluster that is a folder."""
    kubectl = folder / "kubectl"
    kubectl.write_text(_KUBECTL, "utf-8")
    kubectl.chmod(0o700)
    (folder / "cluster").mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECTL": str(kubectl),
        "CLUSTER": str(folder / "cluster"),
        "TMPDIR": str(folder),
        **given,
    }
    return subprocess.run(
        [KUBERAY / "make-secrets.sh"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def made_secrets(folder: Path, given: dict[str, str]) -> dict[str, dict[str, str]]:
    """What the script made, by name and key."""
    done = run_make_secrets(folder, given)
    assert done.returncode == 0, done.stderr
    assert [path for path in folder.iterdir() if path.name.startswith("tmp.")] == []
    return {
        secret.name: {key.name: key.read_text("utf-8") for key in secret.iterdir()}
        for secret in (folder / "cluster").iterdir()
    }


def references(node: Any) -> list[tuple[str, str, str | None]]:
    """Secrets and ConfigMaps that a document names: kind, name, key."""
    found: list[tuple[str, str, str | None]] = []
    if isinstance(node, list):
        return [one for part in node for one in references(part)]
    if not isinstance(node, dict):
        return found
    for name, value in node.items():
        if name in {"secretKeyRef", "configMapKeyRef"}:
            found.append((name.removesuffix("KeyRef"), value["name"], value["key"]))
        elif name in {"secretRef", "configMapRef"}:
            found.append((name.removesuffix("Ref"), value["name"], None))
        elif name == "secretName":
            found.append(("secret", value, None))
        elif name == "secret" and isinstance(value, dict) and "secretName" in value:
            found.append(("secret", value["secretName"], None))
        else:
            found += references(value)
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_that_is_named_is_made(overlay: str, tmp_path: Path):
    given = {}
    if overlay == "gpu":
        given = {
            "S3_ACCESS_KEY_ID": "a",
            "S3_SECRET_ACCESS_KEY": "b",
            "CACHE_REDIS_URL": "rediss://:c@redis.example.com:6379/0",
            "GCS_REDIS_PASSWORD": "d",
        }
    made = made_secrets(tmp_path, given)
    manifests = rendered(overlay)
    named = references(list(manifests.documents))
    assert {name for kind, name, _ in named if kind == "secret"} == set(made)
    for kind, name, key in named:
        if kind == "configMap":
            assert name in manifests.of("ConfigMap")
        elif key is not None:
            assert key in made[name]
    assert set(made["manymodal"]) == set(SECRETS)
    assert made["manymodal-ray"].keys() == {"auth_token"}  # the key that KubeRay asks for
    assert re.fullmatch("[0-9a-f]{64}", made["manymodal"]["MANYMODAL_SECRET"])
    if overlay == "gpu":
        assert made["manymodal-gcs"] == {"password": "d"}
        assert made["manymodal"]["MANYMODAL_STORAGE__REDIS_URL"] == given["CACHE_REDIS_URL"]
    else:
        assert made["manymodal-cache"]["password"] in made["manymodal"]["MANYMODAL_STORAGE__REDIS_URL"]
        (identity,) = json.loads(made["manymodal-s3"]["identities.json"])["identities"]
        (credentials,) = identity["credentials"]
        assert credentials["accessKey"] == made["manymodal"]["MANYMODAL_STORAGE__S3__ACCESS_KEY_ID"]
        assert credentials["secretKey"] == made["manymodal"]["MANYMODAL_STORAGE__S3__SECRET_ACCESS_KEY"]


def test_secrets_are_made_once_and_together(tmp_path: Path):
    first = made_secrets(tmp_path, {})
    assert made_secrets(tmp_path, {}) == first
    for key in (tmp_path / "cluster/manymodal").iterdir():
        key.unlink()
    (tmp_path / "cluster/manymodal").rmdir()
    again = run_make_secrets(tmp_path, {})
    assert again.returncode == 1
    assert "manymodal-ray" in again.stderr
    assert not (tmp_path / "cluster/manymodal").exists()
