"""The smallest fleet that meets its targets at a steady load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from deploy.errors import UnusablePlan
from deploy.pool_settings import AutoscalingSettings
from deploy.simulation.arrivals import draw_requests
from deploy.simulation.gateway import Client
from deploy.simulation.outcome import Outcome, outcome_of
from deploy.simulation.popularity import Popularity
from deploy.simulation.run import DECODER, GATEWAY, Fleet, Run, Shape, simulate
from deploy.simulation.scenario import ENCODERS, Scenario

__all__ = ["WARM_UP_SECONDS", "Sized", "fleet_of", "play", "popularity_of", "size", "with_hit_share"]

WARM_UP_SECONDS = 15.0
_TAIL_SECONDS = 20.0  # so that answers of the time that counts can end under the same load
_GROWTH = 1.05
_MOST_TIMES = 4
_NEGLIGIBLE = 0.05

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sized:
    """Replicas by pool, of the share that was simulated, and what a run with them came to."""

    replicas: Counts
    outcome: Outcome
    run: Run


def fleet_of(
    scenario: Scenario, counts: Counts, autoscaling: Mapping[str, AutoscalingSettings] | None = None
) -> Fleet:
    """A fleet with so many replicas of each pool."""
    scaled = autoscaling or {}
    decoder = scenario.decoder_times()
    shapes = {
        work: Shape(
            counts[work],
            scenario.encoder_requests,
            scenario.queued_requests * counts[GATEWAY],
            scaled.get(work),
        )
        for work in ENCODERS
    }
    gateway = scenario.gateway_times()
    assert gateway.seconds_per_request is not None  # noqa: S101 - filled in where times are looked up
    return Fleet(
        encoders={work: (shape, scenario.encoder_times(work)) for work, shape in shapes.items()},
        decoder=Shape(
            counts[DECODER],
            decoder.max_streams,
            scenario.queued_requests * counts[GATEWAY],
            scaled.get(DECODER),
        ),
        decoder_times=decoder,
        gateways=counts[GATEWAY],
        max_requests=scenario.gateway_requests,
        request_seconds=gateway.seconds_per_request,
        media_seconds=gateway.media_seconds,
        looks=scenario.gateway_looks,
        looks_waiting=scenario.gateway_looks_waiting,
        turn_seconds=scenario.turn_seconds,
        client=Client(scenario.client_retries),
    )


def play(scenario: Scenario, counts: Counts, rate: float) -> Sized:
    """A steady load of so many requests a second (of the share) on a fleet."""
    begin = WARM_UP_SECONDS
    end = begin + scenario.seconds
    until = end + _TAIL_SECONDS
    popularity = popularity_of(scenario)
    dice = np.random.default_rng(scenario.seed)
    requests = draw_requests(scenario.traffic, [(until, rate)], popularity, dice)
    run = simulate(fleet_of(scenario, counts), requests, popularity, begin, end, until, scenario.seed)
    return Sized(dict(counts), outcome_of(run, scenario.slo), run)


def size(scenario: Scenario, rate: float) -> Sized:
    """The smallest fleet found for ``rate`` requests a second of the whole load.

    It begins with what would do if every replica were always busy, and as many gateways as leave the planner's
    headroom. As long as targets are missed, the pool grows where requests wait longest. Raises ``UnusablePlan``
    when that does not help.
    """
    own = rate * scenario.share
    least = _least(scenario, own)
    counts = dict(least)
    while True:
        sized = play(scenario, counts, own)
        if _met(scenario, sized.outcome):
            return sized
        name = _slowest(sized)
        if counts[name] > _MOST_TIMES * least[name] + 10 or _nobody_waits(sized):
            break
        counts[name] = max(counts[name] + 1, math.ceil(counts[name] * _GROWTH))
    missed = ", ".join(f"the first token of {kind}" for kind in sized.outcome.late)
    raise UnusablePlan(
        f"However large the pools are, targets are missed: {missed or 'tokens a second, or refusals'}. Change slo, "
        "the models' times, or load.requests.stream_tokens_per_second."
    )


def _met(scenario: Scenario, outcome: Outcome) -> bool:
    return (
        not outcome.late
        and outcome.refused_share <= scenario.refused_share
        and outcome.pace >= scenario.load.requests.stream_tokens_per_second
    )


def _slowest(sized: Sized) -> str:
    late = set(sized.outcome.late)
    if not late or "text" in late:  # texts need nothing but the decoder
        return DECODER
    waits = {name: float(np.mean(use.waits)) for name, use in sized.run.pools.items() if use.waits}
    return max(waits, key=lambda name: waits[name], default=DECODER)


def _nobody_waits(sized: Sized) -> bool:
    """Whether it is not for want of replicas that first tokens are late."""
    late = [one.target for one in sized.outcome.kinds.values() if one.ttft_p95 > one.target]
    longest = max(
        (float(np.percentile(use.waits, 95)) for use in sized.run.pools.values() if use.waits), default=0
    )
    return bool(late) and longest < _NEGLIGIBLE * min(late)


def _least(scenario: Scenario, rate: float) -> dict[str, int]:
    """What would do if all were always busy; of gateways as many as leave the planner's headroom."""
    traffic, hits = scenario.traffic, scenario.load.requests.cache_hit_share
    counts = dict[str, int]()
    for work in ENCODERS:
        times = scenario.encoder_times(work)
        items = sum(share * traffic.work[kind][work] for kind, share in traffic.shares.items())
        busy = rate * items * (1 - hits) * times.batch_seconds(times.max_items) / times.max_items
        counts[work] = max(1, math.ceil(busy))
    decoder = scenario.decoder_times()
    # Each stream holds its prompt and, on average, half of its answer.
    prompt = sum(share * traffic.prompt_tokens[kind] for kind, share in traffic.shares.items())
    pace = 1 / scenario.load.requests.stream_tokens_per_second
    streams = 1
    while streams < decoder.max_streams and _step(scenario, streams + 1, prompt) <= pace:
        streams += 1
    counts[DECODER] = max(
        1, math.ceil(rate * traffic.output_tokens * _step(scenario, streams, prompt) / streams)
    )
    busy = rate * (scenario.gateway_times().seconds_per_request or 0)
    counts[GATEWAY] = max(1, math.ceil(busy / scenario.load.use_share))
    return counts


def _step(scenario: Scenario, streams: int, prompt: float) -> float:
    """Mean seconds of a step with so many streams, the prompts of their successors read in between."""
    decoder, answer = scenario.decoder_times(), scenario.load.requests.output_tokens
    context = round(streams * (prompt + answer / 2))
    return decoder.step_seconds(streams, context, 0) + decoder.seconds_per_token * streams * prompt / max(
        1, answer
    )


def popularity_of(scenario: Scenario) -> Popularity:
    """Which media its requests are about, and what the caches hold."""
    media = scenario.media
    return _popularity(media.count, media.exponent, scenario.load.requests.cache_hit_share)


@lru_cache(maxsize=8)
def _popularity(count: int, exponent: float, hit_share: float) -> Popularity:
    return Popularity(count, exponent, hit_share)


def with_hit_share(scenario: Scenario, hit_share: float) -> Scenario:
    """The same with other caches."""
    asked = scenario.load.requests.model_copy(update={"cache_hit_share": hit_share})
    return scenario.model_copy(update={"load": scenario.load.model_copy(update={"requests": asked})})
