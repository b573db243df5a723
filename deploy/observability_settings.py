"""Settings of what the platform tells of itself: traces, metrics of clusters, service level objectives."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr

from serving.slo import Slo

__all__ = ["MetricsSettings", "SloSettings", "TracingSettings"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _without_credentials(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username or url.password or url.query:
        raise ValueError("must hold no user, password or query; put what the collector wants into headers")
    return url


class TracingSettings(_Section):
    """Where traces go, and of how many requests. Off without ``endpoint``.

    ``endpoint`` is the address of an OpenTelemetry collector that takes OTLP over HTTP (``http://host:4318``; a
    path that is given is used as it is, else ``/v1/traces``). ``headers`` are sent along, such as a token. Of
    requests that belong to no trace yet the share ``sampling_ratio`` is traced; others as whoever began their trace
    decided.
    """

    endpoint: Annotated[AnyHttpUrl, AfterValidator(_without_credentials)] | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    sampling_ratio: float = Field(default=1.0, ge=0, le=1)
    timeout_seconds: float = Field(default=5.0, gt=0)

    @property
    def address(self) -> str | None:
        """The whole address that spans are sent to."""
        if self.endpoint is None:
            return None
        address = str(self.endpoint)
        return address if (self.endpoint.path or "/") != "/" else f"{address.rstrip('/')}/v1/traces"

    def header_line(self) -> str:
        """The headers as OpenTelemetry's environment variables have them; it holds secrets."""
        return ",".join(f"{name}={quote(value.get_secret_value())}" for name, value in self.headers.items())


class MetricsSettings(_Section):
    """Whether every replica's metrics are offered by Ray's agents, one on each node. For clusters: on one machine
    ``GET /metrics`` has everything. An agent forgets a replica of which it has heard nothing for two minutes.
    """

    through_ray: bool = False
    period_seconds: float = Field(default=5.0, ge=1, le=60)


class SloSettings(_Section):
    """See ``serving.slo.Slo``, which says what each is."""

    first_token_seconds: float = Field(default=0.5, gt=0)
    image_first_token_seconds: float = Field(default=2.0, gt=0)
    audio_first_token_seconds: float = Field(default=1.0, gt=0)
    video_first_token_seconds: float = Field(default=5.0, gt=0)
    token_seconds: float = Field(default=0.1, gt=0)

    def slo(self) -> Slo:
        """The same as the gateway takes it."""
        return Slo(**self.model_dump())
