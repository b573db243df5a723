"""How much a unit of hardware does, for each kind of work and model, and where each figure is from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from deploy.errors import UnusablePlan

__all__ = ["Rate", "Work", "known_rates", "rate"]

Work = Literal["vision", "speech", "text", "chat", "gateway", "search"]


class Rate(BaseModel):
    """Items a second of one unit, which is so many GPUs or so many CPU cores."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_second: float = Field(gt=0)
    cores: int = Field(default=0, ge=0)
    gpus: int = Field(default=0, ge=0)
    kind: Literal["measured", "published", "assumed", "given"] = "given"
    source: str = "the load's own rates"


@cache
def known_rates() -> Mapping[str, Mapping[str, Rate]]:
    """Rates by work and model, as shipped in ``rates.yaml``."""
    text = (resources.files("deploy.planning") / "rates.yaml").read_text("utf-8")
    return TypeAdapter(dict[str, dict[str, Rate]]).validate_python(yaml.safe_load(text))


def rate(work: Work, model: str, own: Mapping[str, Rate]) -> Rate:
    """The rate of ``model``: one of the load's ``own``, else a known one. Raises ``UnusablePlan``."""
    found = own.get(model) or known_rates()[work].get(model)
    if found is None:
        known = ", ".join(sorted(known_rates()[work]))
        raise UnusablePlan(
            f"Nothing is known of how fast the {work} model {model!r} is. Name one of {known}, "
            "or give its rate under 'rates'."
        )
    return found
