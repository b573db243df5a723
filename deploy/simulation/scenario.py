"""What is simulated: the planner's load, and what only a simulation asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import UnusablePlan
from deploy.planning.load import Load, read_load
from deploy.planning.rates import Work
from deploy.simulation.arrivals import Traffic
from deploy.simulation.service_times import DecoderTimes, EncoderTimes, GatewayTimes, KnownTimes, known_times
from serving.slo import Slo

__all__ = ["ENCODERS", "Scenario", "read_scenario"]

ENCODERS: tuple[Work, ...] = ("vision", "speech")
_SECONDS_PER_DAY = 86_400


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PromptTokens(_Section):
    """How long prompts are, media included. Assumptions; put in your own."""

    text: int = Field(default=300, gt=0)
    image: int = Field(default=600, gt=0)
    video: int = Field(default=1500, gt=0)
    audio: int = Field(default=600, gt=0)
    mixed: int = Field(default=1000, gt=0)


class Media(_Section):
    """What is asked about: ``count`` media, how often each by Zipf's law with ``exponent`` (L. Breslau et al., "Web
    Caching and Zipf-like Distributions", INFOCOM 1999 found 0.64 to 0.83 on the Web).
    """

    count: int = Field(default=1_000_000, gt=0, le=10_000_000)
    exponent: float = Field(default=0.8, ge=0)


class Spike(_Section):
    """``times`` the mean load for ``seconds``, after ``before_seconds`` and followed by ``after_seconds`` of it.

    Autoscaling starts at most ``most_replicas`` times the replicas that the peak wants.
    """

    times: Annotated[float, Field(ge=1)] = 5
    before_seconds: float = Field(default=30, gt=0)
    seconds: float = Field(default=180, gt=0)
    after_seconds: float = Field(default=30, gt=0)
    most_replicas: float = Field(default=2, ge=1)


class Scenario(_Section):
    """Everything a simulation is made from.

    Only a ``share`` of the load meets the same share of the machines, and counts are multiplied again: a fleet in
    small has more of a queue than the whole, so this errs on the safe side. ``refused_share`` of requests may be
    refused for good while targets count as met. ``hit_shares`` are those of caches that are compared.
    ``gateway_looks`` media are at the encoders at once from one gateway, and ``gateway_looks_waiting`` wait for
    that: the profile ``cluster`` says the same (``limits.perceptions_at_once``).
    """

    load: Load
    share: float = Field(default=0.05, gt=0, le=1)
    seconds: float = Field(default=30, ge=10)
    seed: int = 0
    prompt_tokens: PromptTokens = PromptTokens()
    output_spread: float = Field(default=0.5, ge=0, le=3)
    tenants: int = Field(default=1000, gt=0)
    media: Media = Media()
    spike: Spike = Spike()
    hit_shares: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = (0.0, 0.5, 0.7, 0.9)
    slo: Slo = Field(default_factory=Slo)
    refused_share: float = Field(default=0.001, ge=0, lt=1)
    turn_seconds: float = Field(default=120, gt=0)
    gateway_requests: int = Field(default=2000, gt=0)
    gateway_looks: int = Field(default=96, gt=0)
    gateway_looks_waiting: int = Field(default=256, gt=0)
    encoder_requests: int = Field(default=64, gt=0)
    queued_requests: int = Field(default=256, gt=0)
    client_retries: int = Field(default=2, ge=0)
    times: KnownTimes = KnownTimes()

    @property
    def requests_per_second(self) -> float:
        """The mean over a day."""
        return float(sum(self.load.requests.per_day.model_dump().values())) / _SECONDS_PER_DAY

    @property
    def traffic(self) -> Traffic:
        """What its requests are like."""
        asked = self.load.requests
        per_day = asked.per_day.model_dump()
        total = sum(per_day.values())
        images, clips = asked.images.model_dump(), asked.clips.model_dump()
        return Traffic(
            shares={kind: count / total for kind, count in per_day.items() if count},
            work={kind: {"vision": round(images[kind]), "speech": round(clips[kind])} for kind in per_day},
            prompt_tokens=self.prompt_tokens.model_dump(),
            output_tokens=asked.output_tokens,
            output_spread=self.output_spread,
            tenants=self.tenants,
        )

    def encoder_times(self, work: Work) -> EncoderTimes:
        """Those of the model that the load names. Raises ``UnusablePlan``."""
        return self._known().encoder(work, getattr(self.load.models, work), self.load.rates)

    def decoder_times(self) -> DecoderTimes:
        """The same of the decoder."""
        return self._known().decoder(self.load.models.chat)

    def gateway_times(self) -> GatewayTimes:
        """The same of a gateway."""
        return self._known().gateway(self.load.models.gateway, self.load.rates)

    def _known(self) -> KnownTimes:
        known, own = known_times(), self.times
        return KnownTimes(
            encoders={**known.encoders, **own.encoders},
            decoders={**known.decoders, **own.decoders},
            gateways={**known.gateways, **own.gateways},
        )


def read_scenario(
    preset: str, file: Path | None, load: Mapping[str, Any], changes: Mapping[str, Any]
) -> Scenario:
    """The planner's preset, or its load in ``file``, with the settings ``load`` (dotted names) of it, and other
    ``changes`` (dotted names, too). Raises ``UnusablePlan``.
    """
    values: dict[str, Any] = {"load": read_load(preset, file, load)}
    for dotted, value in changes.items():
        names, into = dotted.split("."), values
        for name in names[:-1]:
            into = into.setdefault(name, {})
            if not isinstance(into, dict):
                raise UnusablePlan(
                    f"The scenario's {name!r} must be a mapping; the load's own settings begin with load."
                )
        into[names[-1]] = value
    try:
        scenario = Scenario.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UnusablePlan(f"The scenario's '{where}' cannot be used: {first['msg']}.") from None
    if not scenario.requests_per_second:
        raise UnusablePlan("The load asks for nothing: set load.requests.per_day.")
    return scenario
