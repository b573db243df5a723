"""Groups of machines in the manifests: room for what the profile asks, long enough ends, spread and budgets."""

from __future__ import annotations

import math
import re
from typing import Any

from manifests import KUBERAY, Manifests, pod_specs, rendered

from deploy.pool_settings import DeploymentSettings

ROOT = KUBERAY.parents[1]


def replicas_in(group: dict[str, Any], settings: DeploymentSettings) -> int:
    """How many replicas of a deployment fit into one machine of a group."""
    has = {name: float(amount) for name, amount in group["resources"].items()}
    asked = {"CPU": settings.num_cpus, "GPU": settings.num_gpus, **settings.resources}
    room = [math.floor(has.get(name, 0) / amount + 1e-9) for name, amount in asked.items() if amount]
    return min([*room, settings.max_replicas_per_node or 10**6])


def test_each_pool_has_room_for_what_the_profile_may_ask_of_it(manifests: Manifests):
    deployments = manifests.settings().deployments
    assert set(manifests.groups) == set(deployments)
    for name, settings in deployments.items():
        group = manifests.groups[name]
        assert list(settings.resources) == [f"{name}_pool"]
        here = replicas_in(group, settings)
        assert here > 0, f"no replica of {name} fits into a machine of its group"
        assert group["maxReplicas"] * here >= settings.most_replicas, name
        assert group["minReplicas"] * here >= settings.fewest_replicas, name
        # A machine that is always there and has nothing to do would never be ready.
        assert group["minReplicas"] <= max(settings.fewest_replicas, 0), name
        elsewhere = [other for other in manifests.groups.values() if f"{name}_pool" in other["resources"]]
        assert elsewhere == [group], f"replicas of {name} may land in another pool"


def test_what_ray_counts_is_there(manifests: Manifests):
    for name, group in manifests.groups.items():
        (container,) = group["template"]["spec"]["containers"]
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert int(group["resources"].get("GPU", 0)) == int(limits.get("nvidia.com/gpu", 0)), name
        assert limits["memory"] == requests["memory"]
        store = int(group["rayStartParams"]["object-store-memory"])
        assert store == manifests.settings().object_store_bytes
        assert store < bytes_of(limits["memory"]) / 2
    head = manifests.cluster["headGroupSpec"]
    assert head["resources"] == {"CPU": "0"}  # no replica on the machine that must not die


def test_a_production_machine_has_the_cores_that_ray_counts():
    for group in rendered("gpu").groups.values():
        requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
        assert int(requests["cpu"]) >= int(group["resources"]["CPU"])


def test_the_cpu_test_fits_into_the_machine_that_the_docs_ask_for():
    manifests = rendered("cpu-test")
    cores = memory = 0.0
    for name, spec in pod_specs(manifests):
        pods = manifests.groups[name]["minReplicas"] if name in manifests.groups else 1
        for container in spec["containers"]:
            requests = container["resources"]["requests"]
            cores += pods * cores_of(requests["cpu"])
            memory += pods * bytes_of(requests["memory"])
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    asked = re.search(r"one node without a GPU .*?: (\d+) cores, (\d+) GB", page)
    assert asked is not None
    assert cores < int(asked[1])
    assert memory < int(asked[2]) * 1e9


def cores_of(quantity: str) -> float:
    """Cores of a quantity such as 500m."""
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def bytes_of(quantity: str) -> int:
    """Bytes of a quantity such as 4Gi."""
    number, unit = re.fullmatch(r"(\d+)([MG]i)", quantity).groups()
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


def test_pods_drain_longer_than_the_longest_answer(manifests: Manifests):
    settings = manifests.settings()
    for name, group in manifests.groups.items():
        spec = group["template"]["spec"]
        program, seconds = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert program == "drain-node"
        assert (ROOT / "deploy/docker/drain-node.sh").is_file()
        assert settings.limits.answer_timeout_seconds < settings.drain_seconds <= int(seconds), name
        assert int(seconds) + 30 <= spec["terminationGracePeriodSeconds"], name
    assert manifests.service["rayClusterDeletionDelaySeconds"] >= settings.drain_seconds


def test_budgets_keep_a_pool_and_let_nodes_go(manifests: Manifests):
    budgets = {
        one["spec"]["selector"]["matchLabels"]["ray.io/group"]: one["spec"]
        for one in manifests.of("PodDisruptionBudget").values()
    }
    for name, group in manifests.groups.items():
        if group["minReplicas"] < 2:
            assert name not in budgets
            continue
        # Of pods that belong to a custom resource Kubernetes takes no percentages and no maxUnavailable.
        assert budgets[name].keys() == {"minAvailable", "selector"}
        assert type(budgets[name]["minAvailable"]) is int
        assert 0 < budgets[name]["minAvailable"] < group["minReplicas"]


def test_pools_are_spread(manifests: Manifests):
    for name, group in manifests.groups.items():
        spread = group["template"]["spec"]["topologySpreadConstraints"]
        assert {one["topologyKey"] for one in spread} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }, name
        assert all(one["matchLabelKeys"] == ["ray.io/cluster", "ray.io/group"] for one in spread)
