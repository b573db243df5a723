"""Whole runs, sizes of fleets, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import UnusablePlan
from deploy.profile_files import profile_values
from deploy.simulation.arrivals import Request
from deploy.simulation.outcome import outcome_of
from deploy.simulation.popularity import Popularity
from deploy.simulation.run import Fleet, Run, Shape, simulate
from deploy.simulation.scenario import Scenario, read_scenario
from deploy.simulation.service_times import DecoderTimes, EncoderTimes, known_times
from deploy.simulation.sizing import fleet_of, play, size, with_hit_share
from deploy.simulation.study import make_study
from serving.config import RequestLimits
from serving.slo import Slo

RESULTS = Path(__file__).parents[4] / "benchmarks" / "results"
DECODER = DecoderTimes(
    read_seconds=0.02, seconds_per_token=1e-4, seconds_per_stream=1e-3, max_streams=4, kv_tokens=10_000
)
VISION = EncoderTimes(seconds_per_item=0.2, max_items=4)
FLEET = Fleet({"vision": (Shape(1), VISION)}, Shape(1, 64), DECODER)
NOTHING_KNOWN = Popularity(1000, 0.8, 0.0)


def _requests(count: int, every: float, kind: str = "text", medium: int | None = None) -> list[Request]:
    return [
        Request(
            index * every,
            kind,
            index % 3,
            (("vision", 1, index if medium is None else medium),) if kind == "image" else (),
            100,
            10,
        )
        for index in range(count)
    ]


def _run(fleet: Fleet, requests: list[Request], popularity: Popularity = NOTHING_KNOWN) -> Run:
    return simulate(fleet, requests, popularity, 0, 100, 300)


def test_a_lone_request_takes_what_its_parts_take() -> None:
    fleet = replace(FLEET, request_seconds=0.01, media_seconds=0.03)
    (text,) = _run(fleet, _requests(1, 1)).records
    (image,) = _run(fleet, _requests(1, 1, "image")).records
    assert text.first_token == pytest.approx(0.01 + 0.02)
    assert image.first_token == pytest.approx(0.01 + 0.03 + 0.2 + 0.02)
    assert text.ended == pytest.approx(text.first_token + 9 * 0.021)


def test_who_asks_about_the_same_medium_waits_for_the_same_answer() -> None:
    apart = _run(FLEET, _requests(8, 0.0, "image"))
    together = _run(FLEET, _requests(8, 0.0, "image", medium=7))
    assert len(together.pools["vision"].waits) == 1
    assert len(apart.pools["vision"].waits) == 8


def test_what_is_in_the_cache_is_not_looked_at() -> None:
    run = _run(FLEET, _requests(8, 0.0, "image"), Popularity(1000, 0.8, 0.999))
    assert run.pools["vision"].waits == ()


def test_the_same_seed_is_the_same_day() -> None:
    requests = _requests(40, 0.05, "image")
    fleet = replace(FLEET, encoders={"vision": (Shape(3), VISION)}, gateways=2)
    first, again = _run(fleet, requests), _run(fleet, requests)
    assert [one.first_token for one in first.records] == [one.first_token for one in again.records]


def test_clients_come_again_as_they_are_told_and_give_up_in_the_end() -> None:
    fleet = replace(FLEET, max_requests=1)
    requests = [replace(one, output_tokens=500) for one in _requests(2, 0.0)]  # an answer of ten seconds
    run = _run(fleet, requests)
    given_up = [one for one in run.records if one.status is not None]
    assert [(one.status, one.refusals) for one in given_up] == [(503, 3)]
    outcome = outcome_of(run, Slo())
    assert outcome.refused_share == 0.5
    assert outcome.coming_back == 1.5
    soon = _run(fleet, _requests(2, 0.0))
    assert [one.status for one in soon.records] == [None, None]  # it is free when the second comes again
    assert soon.records[1].first_token == pytest.approx(2.02, abs=0.01)  # Retry-After is two seconds


def test_more_machines_are_not_slower() -> None:
    requests = _requests(200, 0.1, "image")
    late = [
        outcome_of(_run(replace(FLEET, encoders={"vision": (Shape(count), VISION)}), requests), Slo())
        .kinds["image"]
        .ttft_p95
        for count in (1, 2, 4)
    ]
    assert late[0] > late[1] >= late[2]


def test_answers_that_are_late_are_no_goodput() -> None:
    requests = _requests(100, 0.01)
    outcome = outcome_of(_run(FLEET, requests), Slo(first_token_seconds=0.1))
    assert outcome.throughput == pytest.approx(outcome.asked)
    assert 0 < outcome.goodput < outcome.throughput
    assert outcome.late == ("text",)


def _small(**changes: Any) -> Scenario:
    return read_scenario("production", None, {}, {"share": 0.004, "seconds": 15, **changes})


def test_gateways_have_as_many_media_at_the_encoders_as_a_clusters() -> None:
    limits = profile_values("cluster")["limits"]
    scenario = _small()
    fleet = fleet_of(scenario, {"vision": 1, "speech": 1, "chat": 1, "gateway": 1})
    assert fleet.looks == limits["perceptions_at_once"]
    assert fleet.looks_waiting == limits["perceptions_waiting"]
    # The benchmark's gateway is one with the platform's defaults.
    assert (FLEET.looks, FLEET.looks_waiting) == (
        RequestLimits().perceptions_at_once,
        RequestLimits().perceptions_waiting,
    )


def test_the_fleet_meets_its_targets_and_a_smaller_one_does_not() -> None:
    scenario = _small()
    rate = scenario.requests_per_second * scenario.load.peak_factor
    assert rate == pytest.approx(3480, rel=0.01)
    sized = size(scenario, rate)
    assert not sized.outcome.late
    assert sized.outcome.pace >= 45
    fewer = play(scenario, {**sized.replicas, "chat": sized.replicas["chat"] // 2}, rate * scenario.share)
    assert fewer.outcome.late or fewer.outcome.pace < 45


def test_without_caches_encoders_are_more() -> None:
    scenario = _small()
    rate = scenario.requests_per_second
    some, none = (size(with_hit_share(scenario, share), rate).replicas for share in (0.7, 0.0))
    assert none["vision"] > some["vision"]
    assert none["chat"] <= some["chat"] + 1


def test_targets_that_no_fleet_meets_are_said() -> None:
    slow = _small(times={"encoders": {"vit-l-14": {"seconds_per_item": 10, "max_items": 1}}})
    with pytest.raises(UnusablePlan, match="the first token of"):
        size(slow, 2000.0)
    hasty = {"requests.stream_tokens_per_second": 90}  # a lone stream has 75
    scenario = read_scenario("production", None, hasty, {"share": 0.004, "seconds": 15})
    with pytest.raises(UnusablePlan, match="tokens a second"):
        size(scenario, 500.0)


def test_a_study_says_all_that_is_asked() -> None:
    scenario = _small(
        share=0.002,
        seconds=10,
        hit_shares=(0.0, 0.7),
        spike={"before_seconds": 10, "seconds": 30, "after_seconds": 10},
    )
    study = make_study(scenario)
    assert set(study.pools) == {"vision", "speech", "chat", "gateway"}
    assert set(study.peak.kinds) == {"text", "image", "video", "audio", "mixed"}
    assert study.cost_a_request_at_mean < study.cost_a_request < 0.05
    assert study.caches[0].gpus > study.caches[1].gpus
    for spike in study.spikes.values():
        assert spike.during.throughput > 0
        assert spike.during.goodput <= spike.during.throughput <= spike.during.asked
    grown = study.spikes["grown from the mean"].replicas
    assert max(counts["chat"] for _, counts in grown) >= grown[0][1]["chat"]


def test_measured_times_are_what_stands_in_the_results() -> None:
    small = known_times().decoders["smollm2-135m-instruct"]
    levels = json.loads((RESULTS / "chat.json").read_text("utf-8"))["levels"]
    for streams, found in levels.items():
        rate = found["tokens_per_second"]["platform"]["median"]
        step = small.step_seconds(int(streams), 0, 0)
        assert int(streams) / step == pytest.approx(rate, rel=0.1)

    storing = json.loads((RESULTS / "simulation.json").read_text("utf-8"))["media_seconds"]
    assert known_times().gateways["http"].media_seconds == pytest.approx(storing, rel=0.1)


def test_the_simulator_was_held_to_real_runs() -> None:
    found = json.loads((RESULTS / "simulation.json").read_text("utf-8"))
    assert found["missed"] == []
    assert len(found["levels"]) == 2


def test_an_a100_is_as_fast_as_was_published() -> None:
    large = known_times().decoders["8b"]
    assert 1 / large.step_seconds(1, 1088, 0) == pytest.approx(75, rel=0.05)
    # Eight streams, 1,024 tokens in and 128 out: 6.6 times as fast as one.
    seconds = 128 * large.step_seconds(8, 8 * 1088, 0) + 8 * 1024 * large.seconds_per_token
    assert 8 * 128 / seconds == pytest.approx(6.6 * 75, rel=0.2)


def test_every_figure_says_where_it_is_from() -> None:
    known = known_times()
    for group in (known.encoders, known.decoders, known.gateways):
        assert all(one.kind != "given" and one.source for one in group.values())


def test_the_command_prints_tables_json_and_its_settings() -> None:
    few = ["--share", "0.002", "--set", "seconds=10", "--set", "hit_shares=[0.7]"]
    few += ["--set", "spike.seconds=20", "--set", "load.models.vision=vit-l-14-batched"]
    shown = CliRunner().invoke(app, ["simulate", *few, "--show-scenario"])
    scenario = yaml.safe_load(shown.stdout)
    assert (scenario["share"], scenario["load"]["models"]["vision"]) == (0.002, "vit-l-14-batched")
    text = CliRunner().invoke(app, ["simulate", *few])
    assert text.exit_code == 0
    for words in ("GPUs at the peak", "p95", "cost of a request", "times the mean"):
        assert words in text.stdout
    printed = CliRunner().invoke(app, ["simulate", *few, "--json"])
    found = json.loads(printed.stdout)
    assert found["met"] == {"late": [], "gpus": sum(pool["gpus"] for pool in found["pools"].values())}
    assert "Infinity" not in printed.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--set", "share"], "NAME=VALUE"),
        (["--set", "share=2"], "share"),
        (["--set", "nothing=1"], "nothing"),
        (["--set", "load.models.chat=unknown"], "unknown"),
        (["--preset", "unknown"], "unknown"),
        (["--set", "load.requests.per_day={}"], "asks for nothing"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(given: list[str], said: str) -> None:
    ended = CliRunner().invoke(app, ["simulate", *given])
    assert isinstance(ended.exception, UnusablePlan)
    assert said in ended.exception.message
