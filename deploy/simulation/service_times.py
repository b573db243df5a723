"""How long hardware takes for one batch or one step, and where each figure is from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field

from deploy.errors import UnusablePlan
from deploy.planning.rates import Rate, Work, rate
from encoders.config import VISION_BATCHES

__all__ = ["DecoderTimes", "EncoderTimes", "GatewayTimes", "KnownTimes", "known_times"]

Seconds = Annotated[float, Field(ge=0)]
Known = TypeVar("Known")


class _Times(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    gpus: int | None = Field(default=None, ge=0)
    cores: int | None = Field(default=None, ge=0)
    start_seconds: Seconds = 10
    """From the wish for a replica to its first request: process, weights, warm-up."""
    kind: Literal["measured", "published", "assumed", "given"] = "given"
    source: str = "the scenario's own times"


class EncoderTimes(_Times):
    """A batch of n items takes ``fixed_seconds + n * seconds_per_item``.

    ``prepare_seconds`` pass for each item before it lines up (decoding, resizing); other processors do it.
    """

    fixed_seconds: Seconds = 0
    seconds_per_item: Annotated[float, Field(gt=0)] | None = None
    prepare_seconds: Seconds = 0
    max_items: int = Field(default=VISION_BATCHES.max_items, gt=0)

    def batch_seconds(self, items: int) -> float:
        """How long the model takes for a batch."""
        assert self.seconds_per_item is not None  # noqa: S101 - ``KnownTimes`` fills it in
        return self.fixed_seconds + items * self.seconds_per_item


class DecoderTimes(_Times):
    """One step of continuous batching: each stream gets a token while parts of new prompts are read.

    It takes ``overhead_seconds``, plus the larger of what memory and what arithmetic need, plus
    ``seconds_per_stream`` for each (the roofline model: S. Williams et al., "Roofline", CACM 2009). Memory:
    ``read_seconds`` for the weights and ``seconds_per_context_token``; arithmetic: ``seconds_per_token``.
    ``kv_tokens`` fit into the cache of keys and values.
    """

    overhead_seconds: Seconds = 0
    read_seconds: Seconds
    seconds_per_context_token: Seconds = 0
    seconds_per_token: Seconds = 0
    seconds_per_stream: Seconds = 0
    max_streams: int = Field(gt=0)
    kv_tokens: int = Field(gt=0)
    max_batched_tokens: int = Field(default=2048, gt=0)

    def step_seconds(self, streams: int, context_tokens: int, prompt_tokens: int) -> float:
        """How long a step takes that gives ``streams`` a token each and reads ``prompt_tokens``."""
        memory = self.read_seconds + self.seconds_per_context_token * context_tokens
        arithmetic = self.seconds_per_token * (streams + prompt_tokens)
        return self.overhead_seconds + max(memory, arithmetic) + self.seconds_per_stream * streams

    def steps_seconds(self, streams: int, context_tokens: int, steps: int) -> float:
        """How long so many steps in a row take, the context growing by ``streams`` with each."""
        arithmetic = self.seconds_per_token * streams
        memory = self.read_seconds + self.seconds_per_context_token * context_tokens
        growth = self.seconds_per_context_token * streams
        flat = 0  # of the first steps arithmetic takes longer
        if memory < arithmetic:
            flat = steps if not growth else math.ceil(min(steps, (arithmetic - memory) / growth))
        rising = steps - flat
        by_memory = rising * memory + growth * (steps * (steps - 1) - flat * (flat - 1)) / 2
        each = self.overhead_seconds + self.seconds_per_stream * streams
        return steps * each + flat * arithmetic + by_memory


class GatewayTimes(_Times):
    """How long a gateway is busy with one request; without a figure, one over the planner's rate. A request that
    brings new media takes ``media_seconds`` more until these are stored.
    """

    seconds_per_request: Annotated[float, Field(gt=0)] | None = None
    media_seconds: Seconds = 0


class KnownTimes(BaseModel):
    """Times by model. ``encoder`` and ``gateway`` fill in what the planner knows (``deploy.planning.rates``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoders: Mapping[str, EncoderTimes] = {}
    decoders: Mapping[str, DecoderTimes] = {}
    gateways: Mapping[str, GatewayTimes] = {}

    def encoder(self, work: Work, model: str, rates: Mapping[str, Rate]) -> EncoderTimes:
        """Of one encoder. Raises ``UnusablePlan`` when neither its times nor its rate are known."""
        times = self.encoders.get(model) or EncoderTimes()
        if times.seconds_per_item is not None:
            return times
        found = rate(work, model, rates)
        return times.model_copy(update=_from_rate(found, "seconds_per_item"))

    def decoder(self, model: str) -> DecoderTimes:
        """Of one decoder. Raises ``UnusablePlan``."""
        return _found(self.decoders, model, "decoder")

    def gateway(self, model: str, rates: Mapping[str, Rate]) -> GatewayTimes:
        """Of one gateway. Raises ``UnusablePlan``."""
        times = self.gateways.get(model) or GatewayTimes()
        if times.seconds_per_request is not None:
            return times
        return times.model_copy(update=_from_rate(rate("gateway", model, rates), "seconds_per_request"))


def _from_rate(found: Rate, name: str) -> dict[str, object]:
    source = f"planner's rate, {found.source}"
    return {
        name: 1 / found.per_second,
        "gpus": found.gpus,
        "cores": found.cores,
        "kind": found.kind,
        "source": source,
    }


def _found(known: Mapping[str, Known], model: str, what: str) -> Known:
    if model not in known:
        raise UnusablePlan(
            f"Nothing is known of how long the {what} {model!r} takes. Name one of {', '.join(sorted(known))}, or "
            f"give its times under 'times.{what}s'."
        )
    return known[model]


@cache
def known_times() -> KnownTimes:
    """Times as shipped in ``service_times.yaml``."""
    text = (resources.files("deploy.simulation") / "service_times.yaml").read_text("utf-8")
    return KnownTimes.model_validate(yaml.safe_load(text))
