"""Requests by chance: when they come, what they bring, how long they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.simulation.popularity import Popularity

__all__ = ["Pattern", "Request", "Traffic", "draw_requests"]

Pattern = Sequence[tuple[float, float]]
"""For so many seconds so many requests a second, one stretch after the other."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client. ``work`` names what its media need: (pool, items, medium)."""

    at_seconds: float
    kind: str
    tenant: int
    work: tuple[tuple[str, int, int], ...]
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What requests are like. ``shares`` by kind add up to one; ``work`` gives items by kind and pool.

    Output lengths have the mean ``output_tokens`` and so many times that as their standard deviation.
    """

    shares: Mapping[str, float]
    work: Mapping[str, Mapping[str, int]]
    prompt_tokens: Mapping[str, int]
    output_tokens: float
    output_spread: float
    tenants: int


def draw_requests(
    traffic: Traffic, pattern: Pattern, popularity: Popularity, dice: np.random.Generator
) -> list[Request]:
    """A Poisson process with the pattern's rates, in the order of time."""
    times, begin = [], 0.0
    for seconds, rate in pattern:
        count = int(dice.poisson(seconds * rate))
        times.append(begin + np.sort(dice.random(count)) * seconds)
        begin += seconds
    at = np.concatenate(times) if times else np.empty(0)
    kinds = list(traffic.shares)
    chosen = dice.choice(len(kinds), len(at), p=np.array([traffic.shares[kind] for kind in kinds]))
    media = popularity.draw(dice, len(at))
    tenants = dice.integers(0, traffic.tenants, len(at))
    tokens = _lengths(traffic, dice, len(at))
    return [
        Request(
            float(when),
            kinds[kind],
            int(tenant),
            tuple((pool, items, int(medium)) for pool, items in traffic.work[kinds[kind]].items() if items),
            traffic.prompt_tokens[kinds[kind]],
            int(length),
        )
        for when, kind, medium, tenant, length in zip(at, chosen, media, tenants, tokens, strict=True)
    ]


def _lengths(traffic: Traffic, dice: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    if not traffic.output_spread:
        return np.full(count, max(1, round(traffic.output_tokens)))
    shape = traffic.output_spread**-2  # of a gamma distribution with this coefficient of variation
    drawn = dice.gamma(shape, traffic.output_tokens / shape, count)
    whole: np.ndarray[Any, Any] = np.maximum(1, np.rint(drawn)).astype(np.int64)
    return whole
