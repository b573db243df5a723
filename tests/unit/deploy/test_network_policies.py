"""What the network policies let through, worked out as Kubernetes does: rules of all policies of a pod add up."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from manifests import OVERLAYS, Manifests, rendered

PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111")
INNER = (
    "169.254.169.254",
    "100.100.100.200",
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "fd00::1",
    "fe80::1",
    "::1",
)


def pods(manifests: Manifests) -> dict[str, dict[str, str]]:
    """Labels of every pod, those that KubeRay gives among them (its ``labelPod``)."""
    ray = {"ray.io/is-ray-node": "yes"}
    found = {
        name: {**ray, "ray.io/node-type": "worker", "ray.io/group": name, "ray.io/serve": "true"}
        for name in manifests.groups
    }
    found["head"] = {**ray, "ray.io/node-type": "head", "ray.io/group": "headgroup", "ray.io/serve": "false"}
    found["redis-cleanup"] = {**ray, "ray.io/node-type": "redis-cleanup", "ray.io/group": "headgroup"}
    for kind in ("Deployment", "StatefulSet", "Job"):
        for name, document in manifests.of(kind).items():
            found[name] = document["spec"]["template"]["metadata"]["labels"]
    return found


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector takes a pod."""
    for one in selector.get("matchExpressions", ()):
        assert one["operator"] == "In"
        if labels.get(one["key"]) not in one["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def rules(manifests: Manifests, labels: dict[str, str], direction: str) -> list[dict[str, Any]]:
    """The rules of one direction that hold for a pod."""
    return [
        rule
        for policy in manifests.of("NetworkPolicy").values()
        if selects(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get(direction, ())
    ]


def lets_address(peers: list[dict[str, Any]] | None, address: str) -> bool:
    """Whether peers (``None``: anybody) take an address outside the cluster."""
    if peers is None:
        return True
    where = ipaddress.ip_address(address)
    for peer in peers:
        block = peer.get("ipBlock")
        if block and where in ipaddress.ip_network(block["cidr"]):
            return not any(where in ipaddress.ip_network(hole) for hole in block.get("except", ()))
    return False


def lets_pod(peers: list[dict[str, Any]] | None, labels: dict[str, str]) -> bool:
    """Whether peers take a pod of the same namespace."""
    return peers is None or any(
        "podSelector" in peer and "namespaceSelector" not in peer and selects(peer["podSelector"], labels)
        for peer in peers
    )


def ports(rule: dict[str, Any]) -> set[Any]:
    """The ports of a rule; ``None`` in it: all."""
    return {port.get("port") for port in rule.get("ports", [{}])}


def test_everything_is_denied_first(manifests: Manifests):
    policies = manifests.of("NetworkPolicy")
    first = policies.pop("deny-everything")["spec"]
    assert first == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        spec = policy["spec"]
        assert [one.lower() for one in spec["policyTypes"]] == [
            way for way in ("ingress", "egress") if way in spec
        ]
        if name != "ask-for-names":
            assert spec["podSelector"], name
        taken = [pod for pod, labels in pods(manifests).items() if selects(spec["podSelector"], labels)]
        assert taken, f"{name} is about no pod"


def test_only_the_api_is_reachable_from_outside(manifests: Manifests):
    open_ports = {
        (name, port)
        for name, labels in pods(manifests).items()
        for rule in rules(manifests, labels, "ingress")
        for address in (*PUBLIC, *INNER)
        if lets_address(rule.get("from"), address)
        for port in ports(rule)
    }
    assert open_ports == {("gateway", "api")}


def test_the_dashboard_is_reachable_by_the_operator_and_ray_alone(manifests: Manifests):
    labels = pods(manifests)
    to_head = [rule for rule in rules(manifests, labels["head"], "ingress") if ports(rule) & {None, 8265}]
    others = [
        name for name, one in labels.items() if any(lets_pod(rule.get("from"), one) for rule in to_head)
    ]
    assert set(others) == {*manifests.groups, "head", "redis-cleanup"}
    namespaces = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in to_head
        for peer in rule["from"]
        if "namespaceSelector" in peer
    ]
    assert namespaces == ["kuberay-system"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_fetcher_reaches_out(overlay: str):
    manifests = rendered(overlay)
    out = {
        (name, port)
        for name, labels in pods(manifests).items()
        for rule in rules(manifests, labels, "egress")
        for address in PUBLIC
        if lets_address(rule.get("to"), address)
        for port in ports(rule)
    }
    fetcher = {("gateway", 80), ("gateway", 443)}
    hub = {("prepare-models", 443)} if overlay == "gpu" else set()
    assert out == fetcher | hub


def test_nobody_reaches_a_cloud_s_metadata_or_this_machine(manifests: Manifests):
    for name, labels in pods(manifests).items():
        for rule in rules(manifests, labels, "egress"):
            for address in ("169.254.169.254", "127.0.0.1", "fd00::1", "fe80::1", "::1"):
                assert not lets_address(rule.get("to"), address), (name, address)


def test_the_fetcher_s_rule_alone_leads_to_no_inner_address(manifests: Manifests):
    (rule,) = manifests.of("NetworkPolicy")["fetcher"]["spec"]["egress"]
    assert not [address for address in INNER if lets_address(rule["to"], address)]


def test_ray_talks_inside_and_nobody_else_does():
    manifests = rendered("cpu-test")
    labels = pods(manifests)
    ray = {*manifests.groups, "head", "redis-cleanup"}
    for asking, asked in ((one, other) for one in labels for other in labels):
        for port in (6379, 8265, 10001, 30000):
            out = any(
                lets_pod(rule.get("to"), labels[asked]) and ports(rule) & {None, port}
                for rule in rules(manifests, labels[asking], "egress")
            )
            into = any(
                lets_pod(rule.get("from"), labels[asking]) and ports(rule) & {None, port}
                for rule in rules(manifests, labels[asked], "ingress")
            )
            if asked in ray:
                assert (out and into) == (asking in ray), (asking, asked, port)


@pytest.mark.parametrize(
    ("store", "port", "name", "users"),
    [
        ("manymodal-gcs", 6379, "redis", {"head", "redis-cleanup"}),
        ("manymodal-cache", 6379, "redis", {"gateway"}),
        (
            "manymodal-s3",
            8333,
            "s3",
            {"head", "redis-cleanup", "gateway", "search", "vision", "ocr", "audio", "text", "make-bucket"},
        ),
    ],
)
def test_stores_are_reached_by_those_who_need_them(store: str, port: int, name: str, users: set[str]):
    manifests = rendered("cpu-test")
    labels = pods(manifests)
    found = {
        asking
        for asking in labels
        if any(
            lets_pod(rule.get("to"), labels[store]) and port in ports(rule)
            for rule in rules(manifests, labels[asking], "egress")
        )
        and any(
            lets_pod(rule.get("from"), labels[asking]) and name in ports(rule)
            for rule in rules(manifests, labels[store], "ingress")
        )
    }
    assert found == users
