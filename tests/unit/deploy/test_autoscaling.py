"""How many replicas there are to be: by requests and by waiting, within bounds, never fewer for more load."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import serve
from ray.serve.config import AutoscalingContext

from deploy.autoscaling import autoscaling_config, serve_options
from deploy.pool_settings import AutoscalingSettings, DeploymentSettings
from deploy.queue_time_policy import wanted_replicas
from encoders.batching.queue_time import QUEUE_SECONDS

SETTINGS = AutoscalingSettings(
    min_replicas=1, max_replicas=8, target_ongoing_requests=4, target_queue_seconds=0.5
)
_counts = st.integers(0, 10_000)
_running = st.integers(0, 64)
_seconds = st.floats(0, 1e6, allow_nan=False)


def _wanted(
    requests: float,
    waits: dict[str, Any] | None,
    *,
    running: int = 2,
    settings: AutoscalingSettings = SETTINGS,
) -> float:
    """What the policy that Serve would be given answers."""
    config = autoscaling_config(settings)
    policy = config.policy.get_policy()(**config.policy.policy_kwargs)
    context: Any = AutoscalingContext(
        deployment_id=None,
        deployment_name="vision",
        app_name="manymodal",
        current_num_replicas=running,
        target_num_replicas=running,
        running_replicas=[],
        total_num_requests=requests,
        total_queued_requests=0,
        aggregated_metrics=None if waits is None else {QUEUE_SECONDS: waits},
        raw_metrics=None,
        capacity_adjusted_min_replicas=settings.min_replicas,
        capacity_adjusted_max_replicas=settings.max_replicas,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=None,
        config=config,
    )
    wanted, state = policy(context)
    assert state == {}
    return wanted


@pytest.mark.parametrize(
    ("requests", "waits", "running", "wanted"),
    [
        (0, {}, 2, 1),
        (8, {}, 2, 2),
        (20, {}, 2, 5),
        (8, {"a": 0.75, "b": 0.75}, 2, 3),  # half as much again as anybody is to wait
        (8, {"a": 1.5, "b": 0.0}, 2, 3),  # the average of the replicas
        (0, {"a": 90.0}, 2, 4),  # at most twice as many at once
        (20, {"a": 0.1}, 2, 5),
        (0, {"a": 0.25}, 4, 4),  # nobody goes while somebody waits for half of what is right
        (0, {"a": 0.125}, 4, 2),
        (400, {"a": 90.0}, 2, 8),  # the bound
        (8, None, 2, 2),
        (8, {"a": None, "b": math.nan, "c": 0.75}, 2, 3),  # of those that have reported
        (8, {"a": None}, 2, 2),
        (8.0000000001, {}, 2, 2),  # an average is off by its last digits
        (0, {"a": -1.0}, 1, 1),  # clocks
    ],
)
def test_requests_and_waiting_ask_for_replicas(
    requests: float, waits: dict[str, Any] | None, running: int, wanted: float
) -> None:
    assert _wanted(requests, waits, running=running) == wanted


def test_a_deployment_that_nobody_asks_may_have_none() -> None:
    rare = SETTINGS.model_copy(update={"min_replicas": 0})
    assert _wanted(0, {"a": 0.0}, running=1, settings=rare) == 0
    assert 0 < _wanted(1, {"a": 0.0}, running=1, settings=rare) <= 1


@given(_counts, st.lists(_seconds, max_size=5), _running, st.integers(0, 8), st.integers(8, 20))
def test_the_answer_is_never_out_of_bounds(
    requests: int, waits: list[float], running: int, least: int, most: int
) -> None:
    settings = SETTINGS.model_copy(update={"min_replicas": least, "max_replicas": most})
    named = {str(number): seconds for number, seconds in enumerate(waits)}
    assert least <= _wanted(requests, named, running=running, settings=settings) <= most


@given(_counts, _counts, _running, _seconds, _seconds)
def test_more_load_never_asks_for_fewer(
    requests: int, more: int, running: int, seconds: float, longer: float
) -> None:
    before = wanted_replicas(requests, 4, running, seconds, 0.5)
    assert wanted_replicas(requests + more, 4, running, seconds, 0.5) >= before
    assert wanted_replicas(requests, 4, running, seconds + longer, 0.5) >= before


@given(_counts, _running, _seconds)
def test_waiting_asks_for_no_more_than_twice_as_many(requests: int, running: int, seconds: float) -> None:
    assert wanted_replicas(requests, 4, running, seconds, 0.5) <= max(requests / 4, 2 * running)


def test_settings_reach_ray_under_its_names() -> None:
    settings = AutoscalingSettings(
        min_replicas=0,
        max_replicas=6,
        initial_replicas=2,
        target_ongoing_requests=12,
        look_back_seconds=20,
        upscale_delay_seconds=3,
        downscale_delay_seconds=60,
    )
    config = autoscaling_config(settings)
    assert (config.min_replicas, config.max_replicas, config.initial_replicas) == (0, 6, 2)
    assert (config.target_ongoing_requests, config.look_back_period_s) == (12, 20)
    assert config.metrics_interval_s == 2
    assert (config.upscale_delay_s, config.downscale_delay_s) == (3, 60)
    assert config.policy.is_default_policy_function()  # requests alone are counted


def test_a_deployment_takes_what_its_settings_say() -> None:
    settings = DeploymentSettings(
        num_replicas=3,
        max_ongoing_requests=8,
        max_queued_requests=16,
        num_cpus=2,
        num_gpus=0.25,
        resources={"vision_pool": 0.01},
        max_replicas_per_node=4,
        surge_percent=25,
        health_check_period_seconds=2,
        health_check_timeout_seconds=20,
    )
    assert serve_options(settings) == {
        "num_replicas": 3,
        "max_ongoing_requests": 8,
        "max_queued_requests": 16,
        "ray_actor_options": {"num_cpus": 2, "num_gpus": 0.25, "resources": {"vision_pool": 0.01}},
        "max_replicas_per_node": 4,
        "max_surge_percent": 25,
        "health_check_period_s": 2,
        "health_check_timeout_s": 20,
    }
    serve.deployment(type("Fake", (), {}), name="vision", **serve_options(settings))  # Ray knows all of them


def test_an_autoscaled_deployment_has_no_number_of_replicas() -> None:
    settings = DeploymentSettings(max_ongoing_requests=8, max_queued_requests=16, autoscaling=SETTINGS)
    options = serve_options(settings)
    assert "num_replicas" not in options
    assert options["autoscaling_config"] == autoscaling_config(SETTINGS)
