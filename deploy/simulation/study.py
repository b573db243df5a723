"""All that is asked of a load: how large each pool must be, what caches save, what a spike does, what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from deploy.pool_settings import AutoscalingSettings
from deploy.simulation.arrivals import draw_requests
from deploy.simulation.outcome import Outcome, outcome_of
from deploy.simulation.run import DECODER, GATEWAY, Fleet, Run, simulate
from deploy.simulation.scenario import ENCODERS, Scenario
from deploy.simulation.service_times import DecoderTimes, EncoderTimes, GatewayTimes
from deploy.simulation.sizing import Sized, fleet_of, popularity_of, size, with_hit_share

__all__ = ["CacheRow", "PoolSize", "SpikeOutcome", "Study", "make_study"]

_TAIL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PoolSize:
    """One pool of the whole fleet, and how it was used at the peak. ``waits`` are for a model."""

    replicas: int
    gpus: int
    cores: int
    busy_share: float
    wait_p95: float
    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class CacheRow:
    """The fleet for the peak with other caches, and what a request costs with it, all day."""

    hit_share: float
    replicas: Mapping[str, int]
    gpus: int
    cost_a_request: float
    ttft_p95: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SpikeOutcome:
    """What became of requests that came during a spike. ``peak_goodput`` is that of the peak's fleet at the peak.
    Within ``steady_seconds`` of its beginning first tokens were in time again,
    for good; ``None``: they were not. ``replicas`` are those of each pool every ten seconds.
    """

    during: Outcome
    peak_goodput: float
    steady_seconds: float | None
    replicas: tuple[tuple[float, Mapping[str, int]], ...]


@dataclass(frozen=True, slots=True)
class Study:
    """Everything. Counts and rates are those of the whole load. Costs are in US dollars."""

    scenario: Scenario
    mean_per_second: float
    peak_per_second: float
    pools: Mapping[str, PoolSize]
    peak: Outcome
    cost_a_request: float
    cost_a_request_at_mean: float
    caches: tuple[CacheRow, ...]
    spikes: Mapping[str, SpikeOutcome]


def make_study(scenario: Scenario, progress: Callable[[str], None] = lambda _: None) -> Study:
    """Size the fleet for the peak and for the mean, with the load's caches and with others, and play the spike on a
    fleet that is as large as the peak wants and on one that grows from the mean. Raises ``UnusablePlan``.
    """
    mean = scenario.requests_per_second
    peak = mean * scenario.load.peak_factor
    progress("the fleet for the peak")
    at_peak = size(scenario, peak)
    progress("the fleet for the mean")
    at_mean = size(scenario, mean)
    caches = []
    for hit_share in scenario.hit_shares:
        progress(f"{hit_share:.0%} cache hits")
        other = with_hit_share(scenario, hit_share)
        same = hit_share == scenario.load.requests.cache_hit_share
        caches.append(_cache_row(other, at_peak if same else size(other, peak), mean))
    spikes = {}
    for name in ("as large as the peak wants", "grown from the mean"):
        progress(f"a spike on a fleet {name}")
        grows = name.startswith("grown")
        spikes[name] = _spike(scenario, at_mean if grows else at_peak, at_peak, mean, grows=grows)
    return Study(
        scenario,
        mean,
        peak,
        _pools(scenario, at_peak),
        _whole(at_peak.outcome, scenario.share),
        _cost(scenario, at_peak, mean),
        _cost(scenario, at_mean, mean),
        tuple(caches),
        spikes,
    )


def _units(scenario: Scenario) -> dict[str, tuple[int, int, str, str]]:
    """GPUs and cores of a replica of each pool, and where its times are from."""
    times: dict[str, EncoderTimes | DecoderTimes | GatewayTimes] = {}
    times.update({work: scenario.encoder_times(work) for work in ENCODERS})
    times[DECODER], times[GATEWAY] = scenario.decoder_times(), scenario.gateway_times()
    return {name: (one.gpus or 0, one.cores or 0, one.kind, one.source) for name, one in times.items()}


def _pools(scenario: Scenario, sized: Sized) -> dict[str, PoolSize]:
    pools = {}
    for name, (gpus, cores, kind, source) in _units(scenario).items():
        count = math.ceil(sized.replicas[name] / scenario.share)
        use = sized.run.pools[name]
        waited = float(np.percentile(use.waits, 95)) if use.waits else 0.0
        pools[name] = PoolSize(count, count * gpus, count * cores, use.busy_share, waited, kind, source)
    return pools


def _cost(scenario: Scenario, sized: Sized, requests_per_second: float) -> float:
    """Of a request, when the fleet is paid for all day."""
    prices, a_second = scenario.load.prices, 0.0
    for name, (gpus, cores, _, _) in _units(scenario).items():
        each = gpus * prices.gpu_hour + cores * prices.core_hour
        a_second += sized.replicas[name] / scenario.share * each / 3600
    return a_second / requests_per_second


def _cache_row(scenario: Scenario, sized: Sized, mean: float) -> CacheRow:
    pools = _pools(scenario, sized)
    return CacheRow(
        hit_share=scenario.load.requests.cache_hit_share,
        replicas={name: pool.replicas for name, pool in pools.items()},
        gpus=sum(pool.gpus for pool in pools.values()),
        cost_a_request=_cost(scenario, sized, mean),
        ttft_p95={kind: one.ttft_p95 for kind, one in sized.outcome.kinds.items()},
    )


def _spike(scenario: Scenario, fleet: Sized, at_peak: Sized, mean: float, *, grows: bool) -> SpikeOutcome:
    spike, rate = scenario.spike, mean * scenario.share
    begin = spike.before_seconds
    end = begin + spike.seconds
    until = end + spike.after_seconds
    pattern = [
        (begin, rate),
        (spike.seconds, rate * spike.times),
        (spike.after_seconds + _TAIL_SECONDS, rate),
    ]
    popularity = popularity_of(scenario)
    requests = draw_requests(scenario.traffic, pattern, popularity, np.random.default_rng(scenario.seed))
    built = _growing(scenario, fleet, at_peak) if grows else fleet_of(scenario, fleet.replicas)
    run = simulate(built, requests, popularity, begin, end, until + _TAIL_SECONDS, scenario.seed)
    outcome = outcome_of(run, scenario.slo)
    return SpikeOutcome(
        _whole(outcome, scenario.share),
        at_peak.outcome.goodput / scenario.share,
        _steady(scenario, run),
        tuple(
            (at, {name: math.ceil(count / scenario.share) for name, count in counts.items()})
            for at, counts in run.replicas
            if at % 10 == 0
        ),
    )


def _growing(scenario: Scenario, at_mean: Sized, at_peak: Sized) -> Fleet:
    """As ``at_mean``, and autoscaled: replicas are to have as many requests as they had on average at the peak."""
    scaled = {}
    for name in (*ENCODERS, DECODER):
        most = max(at_mean.replicas[name], math.ceil(at_peak.replicas[name] * scenario.spike.most_replicas))
        scaled[name] = AutoscalingSettings(
            min_replicas=at_mean.replicas[name],
            max_replicas=most,
            target_ongoing_requests=max(0.5, at_peak.run.pools[name].ongoing),
            target_queue_seconds=None if name == DECODER else 0.5,
        )
    # Gateways do not grow: they are cheap, and as many as the spike wants.
    spike = scenario.spike.times / scenario.load.peak_factor
    counts = {**at_mean.replicas, GATEWAY: math.ceil(at_peak.replicas[GATEWAY] * max(1.0, spike))}
    return fleet_of(scenario, counts, scaled)


def _steady(scenario: Scenario, run: Run) -> float | None:
    """Seconds of the spike until 95 of 100 requests of every stretch of ten seconds to come begin in time."""
    late_until = run.begin
    edges = np.arange(run.begin, run.end + 1, 10.0)
    for begin, end in pairwise(edges):
        records = [one for one in run.records if begin <= one.request.at_seconds < end]
        good = sum(
            one.first_token is not None
            and one.first_token - one.request.at_seconds <= scenario.slo.first_token(one.request.kind)
            for one in records
        )
        if good < 0.95 * len(records):
            late_until = float(end)
    return None if late_until >= edges[-1] else late_until - run.begin


def _whole(outcome: Outcome, share: float) -> Outcome:
    """The same of the whole load: rates and counts are multiplied."""
    return Outcome(
        kinds=outcome.kinds,
        asked=outcome.asked / share,
        throughput=outcome.throughput / share,
        goodput=outcome.goodput / share,
        pace=outcome.pace,
        streams=outcome.streams / share,
        refused_share=outcome.refused_share,
        coming_back=outcome.coming_back,
        unfinished=outcome.unfinished,
    )
