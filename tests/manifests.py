"""The Kubernetes manifests as an overlay makes them, and what they say to the platform."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from deploy.settings import Settings, load_settings

__all__ = ["KUBERAY", "OVERLAYS", "SECRETS", "Manifests", "documents", "faults", "pod_specs", "rendered"]

REPOSITORY = Path(__file__).resolve().parent.parent
KUBERAY = REPOSITORY / "deploy/kuberay"
OVERLAYS = ("cpu-test", "gpu")
_SCHEMAS = {
    "RayService": "ray-service-v1.json",
    "PodMonitor": "pod-monitor-v1.json",
    "PrometheusRule": "prometheus-rule-v1.json",
}
_KUBERNETES = "1.31"  # the oldest that docs/operations.md names
SECRETS = {
    "MANYMODAL_SECRET": "0" * 64,
    "MANYMODAL_STORAGE__S3__ACCESS_KEY_ID": "a",
    "MANYMODAL_STORAGE__S3__SECRET_ACCESS_KEY": "b",
    "MANYMODAL_STORAGE__REDIS_URL": "redis://:c@manymodal-cache:6379/0",
}
"""What the Secret `manymodal` gives to processes: the keys that `make-secrets.sh` writes."""


@dataclass(frozen=True)
class Manifests:
    """All documents of one overlay."""

    documents: tuple[dict[str, Any], ...]

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Those of one kind by name."""
        return {one["metadata"]["name"]: one for one in self.documents if one["kind"] == kind}

    @property
    def service(self) -> dict[str, Any]:
        """The RayService's spec."""
        spec: dict[str, Any] = next(iter(self.of("RayService").values()))["spec"]
        return spec

    @property
    def cluster(self) -> dict[str, Any]:
        """Its Ray cluster's."""
        cluster: dict[str, Any] = self.service["rayClusterConfig"]
        return cluster

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """Groups of workers by name."""
        return {group["groupName"]: group for group in self.cluster["workerGroupSpecs"]}

    @property
    def serve(self) -> dict[str, Any]:
        """What Ray Serve is told."""
        told: dict[str, Any] = yaml.safe_load(self.service["serveConfigV2"])
        return told

    @property
    def environment(self) -> dict[str, str]:
        """What processes find in their environment, secrets aside."""
        found: dict[str, str] = next(iter(self.of("ConfigMap").values()))["data"]
        return found

    def settings(self) -> Settings:
        """The settings as a process in a pod resolves them."""
        return _settings(json.dumps(self.environment))


@functools.cache
def _settings(environment: str) -> Settings:
    others = {name: value for name, value in os.environ.items() if not name.startswith("MANYMODAL_")}
    with mock.patch.dict(os.environ, {**others, **json.loads(environment), **SECRETS}, clear=True):
        return load_settings()


def documents(text: str) -> tuple[dict[str, Any], ...]:
    """The documents of a YAML text."""
    return tuple(one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one)


@functools.cache
def rendered(overlay: str) -> Manifests:
    """An overlay as `kubectl apply -k` would send it; skips where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip(
            "no kubectl here to render the overlays with; the files they are made of are tested all the same"
        )
    made = subprocess.run(
        [kubectl, "kustomize", str(KUBERAY / "overlays" / overlay)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return Manifests(documents(made.stdout))


@functools.cache
def _validator(kind: str) -> Draft202012Validator:
    schema = json.loads((REPOSITORY / "tests/schemas" / _SCHEMAS[kind]).read_text("utf-8"))
    return Draft202012Validator(schema)


def faults(document: Mapping[str, Any]) -> list[str]:
    """What a document has that its kind's schema does not allow; unknown fields among it."""
    if document["kind"] in _SCHEMAS:
        errors = _validator(document["kind"]).iter_errors(document)
        return [f"{error.json_path}: {error.message}" for error in errors]
    try:
        kubernetes_validate.validate(dict(document), _KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{list(error.path)}: {error.message}"]
    return []


def pod_specs(manifests: Manifests) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod that the documents ask for: what it is for, and its spec."""
    yield "head", manifests.cluster["headGroupSpec"]["template"]["spec"]
    for name, group in manifests.groups.items():
        yield name, group["template"]["spec"]
    for kind in ("Deployment", "StatefulSet", "Job"):
        for name, document in manifests.of(kind).items():
            yield name, document["spec"]["template"]["spec"]
