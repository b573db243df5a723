"""Kubernetes manifests: valid, whole, closed, and in step with the profile that they start."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from manifests import KUBERAY, SECRETS, Manifests, documents, faults, pod_specs, rendered

from deploy.ray_environment import ray_environment
from deploy.setting_origins import unknown_variables

ROOT = KUBERAY.parents[1]
SOURCES = sorted(
    path
    for path in KUBERAY.rglob("*.yaml")
    if path.name not in {"kustomization.yaml", "name-references.yaml", "sizes.yaml", "gateways-budget.yaml"}
)
IMAGE = re.compile(r"^manymodal|/manymodal-(cpu|gpu):")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(KUBERAY)))
def test_every_file_is_valid(path: Path):
    parts = documents(path.read_text("utf-8"))
    assert parts
    for part in parts:
        assert faults(part) == [], part["metadata"]["name"]


def test_a_misspelt_field_is_a_fault():
    # Through JSON: what the file says once for all groups is one object here.
    service = json.loads(json.dumps(documents((KUBERAY / "base/ray-service.yaml").read_text("utf-8"))[0]))
    service["spec"]["rayClusterConfig"]["workerGroupSpecs"][3]["template"]["spec"]["priorityClas"] = "x"
    service["spec"]["rayClusterConfig"]["workerGroupSpecs"][1]["minReplicas"] = "2"
    assert len(faults(service)) == 2
    policy = documents((KUBERAY / "base/network-policies.yaml").read_text("utf-8"))[0]
    assert faults(policy | {"spec": {"podSelectors": {}}})


def test_what_is_applied_is_valid(manifests: Manifests):
    assert len(manifests.documents) > 20
    for document in manifests.documents:
        assert faults(document) == [], document["metadata"]["name"]
        inside = document["kind"] not in {"Namespace", "PriorityClass"}
        assert document["metadata"].get("namespace") == ("manymodal" if inside else None)


def test_ray_serve_takes_its_configuration(manifests: Manifests):
    from ray.serve.schema import ServeDeploySchema

    schema = ServeDeploySchema.model_validate(manifests.serve)
    settings = manifests.settings()
    (application,) = schema.applications
    assert application.route_prefix == "/"
    assert application.import_path == "deploy.ray_entry:application"
    assert application.args == {"profile": settings.profile}
    assert schema.http_options.port == settings.port
    assert schema.http_options.host == settings.host


def test_processes_have_the_environment_that_the_platform_would_give_them(manifests: Manifests):
    environment = manifests.environment
    expected = ray_environment(manifests.settings())
    ours = {name: value for name, value in environment.items() if not name.startswith("MANYMODAL_")}
    assert ours == expected, (
        "deploy/kuberay/base/environment.env is not in step with deploy/ray_environment.py"
    )
    assert unknown_variables(environment | SECRETS) == ()
    assert environment["MANYMODAL_PROFILE"] == "cluster"


def test_all_pods_have_it(manifests: Manifests):
    (config,) = manifests.of("ConfigMap")
    for name, spec in pod_specs(manifests):
        for container in spec["containers"]:
            if IMAGE.search(container["image"]):
                sources = [next(iter(one.values()))["name"] for one in container["envFrom"]]
                assert sources == [config, "manymodal"], name


def test_no_service_passes_for_a_setting(manifests: Manifests):
    # For a Service `manymodal` Kubernetes sets MANYMODAL_PORT=tcp://ADDRESS in every pod that comes after it.
    assert "MANYMODAL_PORT" not in manifests.environment
    assert manifests.service["serveService"]["metadata"]["name"] == "manymodal"
    ours = [
        name
        for name, spec in pod_specs(manifests)
        if any(IMAGE.search(container["image"]) for container in spec["containers"])
    ]
    linked = [name for name, spec in pod_specs(manifests) if spec.get("enableServiceLinks", True)]
    assert {"head", "gateway", "engine", "prepare-models"} <= set(ours)
    assert not set(ours) & set(linked)


def test_clients_reach_the_gateways_of_the_cluster_that_serves(manifests: Manifests):
    settings = manifests.settings()
    # KubeRay adds the selector (this cluster's machines) and moves it when another cluster takes over.
    service = manifests.service["serveService"]
    assert "selector" not in service["spec"]
    (port,) = service["spec"]["ports"]
    ports = {
        name: {one["name"]: one["containerPort"] for one in spec["containers"][0]["ports"]}
        for name, spec in pod_specs(manifests)
        if name in {"head", *manifests.groups}
    }
    assert [name for name, own in ports.items() if port["targetPort"] in own] == ["gateway"]
    assert ports["gateway"][port["targetPort"]] == settings.port
    assert all(own["metrics"] == 8080 for own in ports.values())
    # KubeRay takes the service's port of this name for that of Ray Serve, which it looks for at the head.
    assert ports["head"][port["name"]] == settings.port


def test_services_name_ports_of_their_pods(manifests: Manifests):
    templates = [
        document["spec"]["template"]
        for kind in ("Deployment", "StatefulSet")
        for document in manifests.of(kind).values()
    ]
    for service in manifests.of("Service").values():
        selector = service["spec"]["selector"].items()
        (template,) = (one for one in templates if selector <= one["metadata"]["labels"].items())
        ports = [one["name"] for one in template["spec"]["containers"][0]["ports"]]
        assert [one["targetPort"] for one in service["spec"]["ports"]] == ports


def test_stores_that_the_settings_name_are_there():
    manifests = rendered("cpu-test")
    services = {
        f"{name}:{port['port']}"
        for name, one in manifests.of("Service").items()
        for port in one["spec"]["ports"]
    }
    storage = manifests.settings().storage_config()
    assert storage.s3 is not None
    assert storage.s3.endpoint_url.removeprefix("http://") in services
    assert storage.redis_url is not None
    assert storage.redis_url.partition("@")[2].removesuffix("/0") in services
    options = manifests.cluster["gcsFaultToleranceOptions"]
    assert options["redisAddress"].removeprefix("redis://") in services
    # What the head knows is not in the Redis that evicts.
    assert "manymodal-cache" not in options["redisAddress"]


def test_probes_ask_what_does_not_need_a_token(manifests: Manifests):
    ray = Path(importlib.util.find_spec("ray").origin).parent
    source = (ray / "dashboard/http_server_agent.py").read_text("utf-8")  # its list of what is open
    for name, spec in pod_specs(manifests):
        if name not in {"head", *manifests.groups}:
            continue
        container = spec["containers"][0]
        liveness = container["livenessProbe"]["httpGet"]
        assert f'"{liveness["path"]}"' in source
        assert liveness["port"] == 52365
        ready = container["readinessProbe"]["httpGet"]["path"]
        assert ready == ("/-/healthz" if name == "gateway" else "/api/healthz")
        # KubeRay's job that clears Redis copies the head's container and takes away but these two.
        assert ("startupProbe" in container) == (name != "head")


def test_pods_are_closed(manifests: Manifests):
    for name, spec in pod_specs(manifests):
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        # The head's autoscaler alone talks to Kubernetes.
        assert ("automountServiceAccountToken" not in spec) == (name == "head")
        assert spec.get("automountServiceAccountToken", False) is False
        for volume in spec.get("volumes", ()):
            assert volume.keys() & {"emptyDir", "persistentVolumeClaim", "secret"}
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in context
            assert container["resources"]["limits"]["memory"]
    autoscaler = manifests.cluster["autoscalerOptions"]["securityContext"]
    assert autoscaler["runAsNonRoot"] is True
    assert autoscaler["capabilities"] == {"drop": ["ALL"]}


def test_the_cluster_is_one_that_kuberay_takes(manifests: Manifests):
    cluster = manifests.cluster
    assert cluster["rayVersion"] == importlib.metadata.version("ray")
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        # With autoscaler v2 pods are replaced, not restarted; resources come one way.
        assert "restartPolicy" not in group["template"]["spec"]
        assert not group["rayStartParams"].keys() & {"num-cpus", "num-gpus", "memory", "resources", "labels"}
        assert len(group["template"]["spec"]["containers"]) == 1


def test_volumes_and_classes_that_are_named_are_there(manifests: Manifests):
    classes = {"manymodal-control", "manymodal-pools"}
    assert set(manifests.of("PriorityClass")) == classes
    for name, spec in pod_specs(manifests):
        assert spec.get("priorityClassName", "manymodal-pools") in classes
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        claims = [
            one["persistentVolumeClaim"]["claimName"]
            for one in volumes.values()
            if "persistentVolumeClaim" in one
        ]
        assert set(claims) <= set(manifests.of("PersistentVolumeClaim"))
        if name not in manifests.of("StatefulSet"):
            for container in (*spec["containers"], *spec.get("initContainers", ())):
                assert {mount["name"] for mount in container.get("volumeMounts", ())} <= set(volumes)
    head_first = [manifests.cluster["headGroupSpec"], manifests.groups["gateway"]]
    assert all(one["template"]["spec"]["priorityClassName"] == "manymodal-control" for one in head_first)


def test_our_image_is_one(manifests: Manifests):
    images = {
        container["image"]
        for _, spec in pod_specs(manifests)
        for container in (*spec["containers"], *spec.get("initContainers", ()))
    }
    assert len([image for image in images if IMAGE.search(image)]) == 1
    assert all(":" in image and not image.endswith(":") for image in images)


def test_pods_are_watched_as_prometheus_is_set_up():
    monitor = rendered("gpu").of("PodMonitor")["manymodal"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    config = yaml.safe_load((ROOT / "deploy/grafana/prometheus.yml").read_text("utf-8"))
    (ray,) = (job for job in config["scrape_configs"] if job["job_name"] == "ray")

    def in_prometheus(rule: dict[str, Any]) -> dict[str, Any]:
        return {
            re.sub("([A-Z])", lambda found: f"_{found[0].lower()}", name): value
            for name, value in rule.items()
        }

    assert [in_prometheus(rule) for rule in endpoint["metricRelabelings"]] == ray["metric_relabel_configs"]


def test_alerts_fit_into_a_rule_of_the_operators():
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    (commands,) = (block for block in page.split("```sh\n") if "kind: PrometheusRule" in block)
    made = commands.partition("```")[0].replace("| kubectl apply -f -", "")
    printed = subprocess.run(
        ["bash", "-c", made], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    (rule,) = documents(printed.stdout)
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy/grafana/alerts.yml").read_text("utf-8"))
    assert faults(rule) == []


def test_the_application_is_built_from_what_a_pod_is_given():
    from deploy.ray_entry import application

    manifests = rendered("cpu-test")
    (one,) = manifests.serve["applications"]
    others = {name: value for name, value in os.environ.items() if not name.startswith("MANYMODAL_")}
    with mock.patch.dict(os.environ, {**others, **manifests.environment, **SECRETS}, clear=True):
        gateway = application(one["args"])
    assert gateway._bound_deployment.ray_actor_options["resources"] == {"gateway_pool": 0.01}
