"""What the application is made of: pools or one deployment of all encoders, and who calls whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cluster_settings import CLUSTER
from fake_ray import FakeHandle, FakeResponse

from deploy import pool_settings
from deploy.app import DEPLOYMENT_CLASSES, build_application
from deploy.ray_entry import application
from deploy.settings import Settings, load_settings
from serving.deployments.perception import PerceptionDeployment
from serving.ray_adapter import RayBridge, RayPerception
from serving.ray_adapter.perception import POOL_OF
from serving.services import Perception
from storage.types import MediaRef

POOLS: tuple[str, ...] = pool_settings.POOLS
LIMITS = {"max_ongoing_requests": 8, "max_queued_requests": 8}
SPLIT: dict[str, Any] = {"perception": None, **dict.fromkeys(POOLS, LIMITS)}
MEDIA = MediaRef("file-1", "t", "ab" * 32, 3, "image/png")


def of(folder: Path, deployments: dict[str, Any], **more: Any) -> Settings:
    base = dict.fromkeys(("gateway", "search", "engine", "perception"), LIMITS)
    return load_settings({"data_dir": folder, "deployments": {**base, **deployments}, **more})


def bound(application: Any) -> dict[str, Any]:
    """All deployments below one, by name, as they were bound."""
    found: dict[str, Any] = {}

    def look(value: Any) -> None:
        if hasattr(value, "_bound_deployment"):
            deployment = value._bound_deployment
            found[deployment.name] = deployment
            for argument in (*deployment.init_args, *deployment.init_kwargs.values()):
                look(argument)
        elif isinstance(value, dict):
            for part in value.values():
                look(part)

    look(application)
    return found


def test_one_deployment_of_all_encoders_or_one_for_each_kind(tmp_path: Path) -> None:
    together = bound(build_application(of(tmp_path, {})))
    assert set(together) == {"gateway", "perception", "search", "engine"}
    split = bound(build_application(of(tmp_path, SPLIT)))
    assert set(split) == {"gateway", "search", "engine", *POOLS}
    for name in POOLS:
        assert issubclass(split[name].func_or_class, DEPLOYMENT_CLASSES[name])
    assert set(split["gateway"].init_args[0]) == set(POOLS)


def test_a_replica_that_leaves_may_answer_as_long_as_the_settings_say(tmp_path: Path) -> None:
    for deployment in bound(build_application(of(tmp_path, SPLIT, drain_seconds=77))).values():
        assert deployment._deployment_config.graceful_shutdown_timeout_s == 77


def test_a_machine_that_is_lost_while_replicas_start_gives_no_deployment_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starts(settings: Settings) -> set[int]:
        found = bound(build_application(settings)).values()
        return {deployment._deployment_config.max_constructor_retry_count for deployment in found}

    assert starts(of(tmp_path, SPLIT)) == {1}  # what does not load is said at once
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    cluster = {"ray_address": "auto", "chat": {"side_channel": False}, "drain_seconds": 660}
    assert min(starts(of(tmp_path, SPLIT, **cluster))) > 1


def test_classes_are_put_in_place_of_the_real_ones(tmp_path: Path) -> None:
    class Other:
        def __init__(self, config: Any) -> None: ...

    found = bound(build_application(of(tmp_path, {}), {"engine": Other}))
    assert issubclass(found["engine"].func_or_class, Other)
    assert issubclass(found["perception"].func_or_class, PerceptionDeployment)


def test_ray_serve_builds_it_of_settings(tmp_path: Path) -> None:
    assert "perception" in bound(application({"profile": "laptop", "data_dir": str(tmp_path)}))


def test_the_gateway_is_told_who_may_sleep(tmp_path: Path) -> None:
    sleepy = {**LIMITS, "autoscaling": {"min_replicas": 0, "max_replicas": 2, "target_ongoing_requests": 4}}
    found = bound(build_application(of(tmp_path, {**SPLIT, "audio": sleepy})))
    assert found["gateway"].init_args[-1] == frozenset({"audio"})


def test_texts_for_models_that_take_turns_go_to_who_has_loaded_them(tmp_path: Path) -> None:
    encoders = {"text_variants": ["all-minilm-l6-v2-float32"]}
    found = bound(build_application(of(tmp_path, SPLIT, encoders=encoders)))
    routers = {
        name: deployment._deployment_config.request_router_config.request_router_class
        for name, deployment in found.items()
    }
    assert "StickyRouter" in str(routers.pop("text"))
    assert "StickyRouter" not in str(routers)


def test_every_question_has_a_pool_that_answers_it() -> None:
    asked = {name for name in vars(Perception) if not name.startswith("_")} - {"metrics", "ready"}
    assert set(POOL_OF) == asked
    assert set(POOL_OF.values()) == set(POOLS)
    for method, pool in POOL_OF.items():
        assert hasattr(DEPLOYMENT_CLASSES[pool], method)
        for other in set(POOLS) - {pool}:
            assert not hasattr(DEPLOYMENT_CLASSES[other], method)


async def test_each_question_goes_to_its_pool() -> None:
    handles = {name: FakeHandle(FakeResponse(name)) for name in POOLS}
    encoders: Any = RayPerception(handles, 30)
    arguments = {"moderate_video": (MEDIA, None), "picture": (MEDIA, 8), "image_tokens": (MEDIA,)}
    for method in ("probe", "fingerprint", "read_text", "sound", "embed_texts", *arguments):
        assert await getattr(encoders, method)(*arguments.get(method, (MEDIA,))) == POOL_OF[method]
    assert sum(len(handle.calls) for handle in handles.values()) == 5 + len(arguments)


async def test_all_pools_must_be_ready_and_all_tell_their_metrics() -> None:
    text = {
        name: f'# HELP m M.\n# TYPE m counter\nm{{pool="{name}"}} 1.0\n'
        f'# HELP n N.\n# TYPE n gauge\nn{{p="{name}"}} 2.0\n'
        for name in POOLS
    }
    encoders = RayPerception({name: FakeHandle(FakeResponse(text[name].encode())) for name in POOLS}, 30)
    told = (await encoders.metrics()).decode()
    assert told.count("# TYPE m counter") == 1
    assert told.splitlines()[2 : 2 + len(POOLS)] == [f'm{{pool="{pool}"}} 1.0' for pool in POOLS]
    handles = {name: FakeHandle(FakeResponse(text[name].encode())) for name in POOLS}
    told = (await RayPerception(handles, 30, may_sleep={"audio"}).metrics()).decode()
    assert 'pool="audio"' not in told
    assert 'pool="text"' in told
    assert handles["audio"].calls == []  # which would have woken it
    states = {name: FakeHandle(FakeResponse(True)) for name in POOLS}
    assert await RayPerception(states, 30).ready()
    states["ocr"] = FakeHandle(FakeResponse(False))
    assert not await RayPerception(states, 30).ready()


async def test_the_bridge_takes_tokens_of_the_pool_that_makes_them() -> None:
    handles = {name: FakeHandle(FakeResponse(name)) for name in POOLS}
    bridge = RayBridge(handles, FakeHandle(FakeResponse(1)), 30)
    await bridge.soft_image(MEDIA)
    await bridge.soft_audio(MEDIA)
    assert handles["vision"].calls == [("image_tokens", MEDIA, 1)]
    assert handles["audio"].calls == [("audio_tokens", MEDIA)]


def test_a_pool_that_is_missing_is_found_when_the_gateway_is_made() -> None:
    with pytest.raises(KeyError):
        RayPerception({"vision": FakeHandle(FakeResponse(1))}, 30)
