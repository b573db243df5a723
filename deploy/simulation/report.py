"""A study as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from deploy.simulation.study import SpikeOutcome, Study

__all__ = ["as_json", "as_text"]


def as_json(study: Study) -> dict[str, Any]:
    """Everything. What has no first token is as late as ``null``."""
    found = asdict(study)
    found["scenario"] = study.scenario.model_dump(mode="json")
    found["met"] = {"late": list(study.peak.late), "gpus": sum(pool.gpus for pool in study.pools.values())}
    return {name: _finite(value) for name, value in found.items()}


def as_text(study: Study) -> str:
    """Tables to act on, and where the figures come from."""
    return "\n".join([*_head(study), *_pools(study), *_kinds(study), *_caches(study), *_spikes(study), ""])


def _head(study: Study) -> Iterator[str]:
    scenario, peak = study.scenario, study.peak
    gpus = sum(pool.gpus for pool in study.pools.values())
    yield (
        f"The load {scenario.load.name!r}: {study.mean_per_second:,.0f} requests/s on average, "
        f"{study.peak_per_second:,.0f} at the peak; {scenario.load.requests.cache_hit_share:.0%} of media are in "
        f"the caches. A share of {scenario.share:g} was simulated."
    )
    yield f"  GPUs at the peak        {gpus:,}"
    yield f"  streams at once         {peak.streams:,.0f} at {peak.pace:.0f} tokens/s each"
    yield f"  goodput                 {peak.goodput:,.0f} of {peak.asked:,.0f} tokens/s that were asked for"
    yield f"  cost of a request       {study.cost_a_request:.6f} USD with the peak's fleet all day"
    yield f"                          {study.cost_a_request_at_mean:.6f} USD with the mean's"


def _pools(study: Study) -> Iterator[str]:
    yield "\nPools at the peak"
    yield f"  {'':<10}{'replicas':>9}{'GPUs':>8}{'cores':>8}{'busy':>7}{'wait p95':>11}   times"
    for name, pool in study.pools.items():
        yield (
            f"  {name:<10}{pool.replicas:>9,}{pool.gpus:>8,}{pool.cores:>8,}{pool.busy_share:>7.0%}"
            f"{pool.wait_p95 * 1000:>8,.0f} ms   {pool.kind}: {pool.source}"
        )


def _kinds(study: Study) -> Iterator[str]:
    yield "\nSeconds to the first token at the peak"
    yield f"  {'':<10}{'p50':>8}{'p95':>8}{'target':>8}{'good':>8}"
    for kind, one in study.peak.kinds.items():
        good = one.good / max(1, one.requests)
        yield f"  {kind:<10}{_seconds(one.ttft_p50)}{_seconds(one.ttft_p95)}{one.target:>8.2f}{good:>8.1%}"


def _caches(study: Study) -> Iterator[str]:
    yield "\nCaches (fleets for the peak)"
    names = list(study.pools)
    yield f"  {'hits':<6}{'GPUs':>8}{'USD a request':>15}" + "".join(f"{name:>10}" for name in names)
    for row in study.caches:
        counts = "".join(f"{row.replicas[name]:>10,}" for name in names)
        yield f"  {row.hit_share:<6.0%}{row.gpus:>8,}{row.cost_a_request:>15.6f}{counts}"


def _spikes(study: Study) -> Iterator[str]:
    spike = study.scenario.spike
    yield f"\n{spike.times:g} times the mean for {spike.seconds:g} seconds"
    for name, one in study.spikes.items():
        yield f"  On a fleet {name}:"
        yield from (f"    {line}" for line in _spike(one))


def _spike(one: SpikeOutcome) -> Iterator[str]:
    during = one.during
    yield (
        f"asked for {during.asked:,.0f} tokens/s; answered {during.throughput:,.0f}, in time {during.goodput:,.0f} "
        f"({during.goodput / max(1.0, one.peak_goodput):.0%} of what the peak's fleet gives at the peak)"
    )
    yield (
        f"{during.refused_share:.1%} of requests were given up after {during.coming_back:.2f} refusals a request "
        "(429 and 503, with Retry-After)"
    )
    late = ", ".join(f"{kind} {_short(each.ttft_p95)}" for kind, each in during.kinds.items())
    yield f"p95 to the first token: {late}"
    if one.steady_seconds is None:
        yield "first tokens were not in time again before its end"
    else:
        yield f"first tokens were in time again after {one.steady_seconds:.0f} s"


def _seconds(value: float) -> str:
    return f"{value:>8.2f}" if value < float("inf") else f"{'never':>8}"


def _short(value: float) -> str:
    return f"{value:.2f} s" if value < float("inf") else "never"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and value == float("inf") else value
