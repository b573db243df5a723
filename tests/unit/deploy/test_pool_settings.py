"""Which deployments there are, how many replicas each has, and what several machines need."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_settings import CLUSTER
from pydantic import ValidationError

from deploy.pool_settings import DeploymentSettings
from deploy.settings import Settings, load_settings

LEAST = {"max_ongoing_requests": 8, "max_queued_requests": 8}
SCALED = {"min_replicas": 2, "max_replicas": 4, "target_ongoing_requests": 2}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def _cluster(**changes: Any) -> Settings:
    return load_settings({"profile": "cluster", **changes})


@pytest.mark.parametrize(
    ("given", "fewest", "most"),
    [
        ({}, 1, 1),
        ({"num_replicas": 3}, 3, 3),
        ({"autoscaling": SCALED}, 2, 4),
        ({"autoscaling": SCALED | {"min_replicas": 0}}, 0, 4),
        ({"autoscaling": SCALED, "num_replicas": None}, 2, 4),
    ],
)
def test_replicas_are_a_number_or_scaled(given: dict[str, Any], fewest: int, most: int) -> None:
    settings = DeploymentSettings(**LEAST, **given)
    assert (settings.fewest_replicas, settings.most_replicas) == (fewest, most)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_replicas": 2, "autoscaling": SCALED}, "exclude each other"),
        ({"num_replicas": 0}, "greater than 0"),
        ({"autoscaling": SCALED | {"min_replicas": 5}}, "not be more than max_replicas"),
        ({"autoscaling": SCALED | {"initial_replicas": 1}}, "between min_replicas"),
        ({"autoscaling": SCALED | {"look_back_seconds": 2}}, "greater than 2"),
        ({"autoscaling": SCALED | {"target_queue_seconds": 0}}, "greater than 0"),
        ({"num_gpus": 1.5}, "whole number"),
        ({"resources": {"vision_pool": 0}}, r"resources\.vision_pool must be more than 0"),
        ({"resources": {"gpu": 1}}, r"resources\.gpu is Ray's own"),
        ({"max_replicas_per_node": 0}, "greater than 0"),
        ({"replicas": 2}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DeploymentSettings(**LEAST, **given)


def test_most_replicas_of_decoders_are_shared_by_the_fewest_gateways(cluster: pytest.MonkeyPatch) -> None:
    cluster.setenv("MANYMODAL_CHAT__MAX_STREAMS", "10")
    cluster.setenv("MANYMODAL_DEPLOYMENTS__ENGINE__AUTOSCALING__MAX_REPLICAS", "5")
    settings = _cluster()
    assert settings.deployments["gateway"].fewest_replicas == 3
    assert settings._engine_slots() == 17  # fifty by three, and no slot is lost by rounding


@pytest.mark.parametrize(
    ("profile", "variables", "words"),
    [
        ("laptop", {"VISION": "{}"}, "perception, which holds all encoders, and vision"),
        ("laptop", {"PERCEPTION": "null"}, "lacks vision, ocr, audio, text"),
        ("cluster", {"OCR": "null", "TEXT": "null"}, "lacks ocr, text"),
        ("cluster", {"ENGINE": "null"}, "lacks engine"),
        ("cluster", {"GATEWAY__AUTOSCALING__MIN_REPLICAS": "0"}, "nobody else listens"),
        ("cluster", {"ENGINE__NUM_REPLICAS": "4"}, "exclude each other"),
    ],
)
def test_encoders_are_one_deployment_or_four(
    profile: str, variables: dict[str, str], words: str, cluster: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        whole = '{"max_ongoing_requests": 8, "max_queued_requests": 8}' if value == "{}" else value
        cluster.setenv(f"MANYMODAL_DEPLOYMENTS__{name}", whole)
    with pytest.raises(ValidationError, match=words):
        load_settings({"profile": profile})


def test_the_environment_may_fix_a_number_of_replicas(cluster: pytest.MonkeyPatch) -> None:
    cluster.setenv("MANYMODAL_DEPLOYMENTS__ENGINE__AUTOSCALING", "null")
    cluster.setenv("MANYMODAL_DEPLOYMENTS__ENGINE__NUM_REPLICAS", "4")
    engine = _cluster().deployments["engine"]
    assert (engine.fewest_replicas, engine.most_replicas, engine.num_gpus) == (4, 4, 1)


def test_pools_may_replace_the_laptops_one_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYMODAL_DEPLOYMENTS__PERCEPTION", "null")
    for name in ("VISION", "OCR", "AUDIO", "TEXT"):
        monkeypatch.setenv(f"MANYMODAL_DEPLOYMENTS__{name}__MAX_ONGOING_REQUESTS", "16")
        monkeypatch.setenv(f"MANYMODAL_DEPLOYMENTS__{name}__MAX_QUEUED_REQUESTS", "32")
    deployments = load_settings().deployments
    assert "perception" not in deployments
    assert deployments["audio"].max_queued_requests == 32


@pytest.mark.parametrize("name", sorted(CLUSTER))
def test_several_machines_need_what_they_share(name: str, cluster: pytest.MonkeyPatch) -> None:
    cluster.delenv(name)
    with pytest.raises(ValidationError, match=name) as refused:
        _cluster()
    others = set(CLUSTER) - {name}
    assert not [other for other in others if other in str(refused.value)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chat": {"side_channel": True}}, "side_channel is a socket on one machine"),
        ({"drain_seconds": 600}, r"drain_seconds \(600\) must be more than limits.answer_timeout_seconds"),
        ({"limits": {"answer_timeout_seconds": 700}}, r"answer_timeout_seconds \(700\)"),
    ],
)
def test_several_machines_share_no_socket_and_drain_longer_than_an_answer(
    changes: dict[str, Any], words: str, cluster: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match=words):
        _cluster(**changes)
    assert load_settings({"drain_seconds": 1}).chat.side_channel  # one machine may do as it likes


def test_several_gateways_on_one_machine_need_something_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYMODAL_DEPLOYMENTS__GATEWAY__NUM_REPLICAS", "2")
    with pytest.raises(ValidationError, match="set ingress to haproxy"):
        load_settings()
    assert load_settings({"ingress": "haproxy"}).deployments["gateway"].most_replicas == 2


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.7:6379", "ray-head.svc.cluster.local:6379"])
def test_addresses_of_ray(address: str, cluster: pytest.MonkeyPatch) -> None:
    assert _cluster(ray_address=address).ray_address == address


@pytest.mark.parametrize("address", ["", "ray://head:10001", "head", "10.0.0.7:port", "-x:1"])
def test_no_addresses_of_ray(address: str, cluster: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="HOST:PORT"):
        _cluster(ray_address=address)


def test_secrets_are_in_no_refusal(cluster: pytest.MonkeyPatch) -> None:
    cluster.setenv("MANYMODAL_SECRET", "not-hexadecimal-but-secret")
    cluster.setenv("MANYMODAL_STORAGE__REDIS_URL", "http://:password-of-redis@127.0.0.1")
    with pytest.raises(ValidationError) as refused:
        _cluster()
    assert "but-secret" not in str(refused.value)
    assert "password-of-redis" not in str(refused.value)
