"""Settings of moderation: what is kept out for tenants that have no policy of their own."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from serving.moderation.policy import CATEGORIES, ModerationPolicy, Place

__all__ = ["ModerationSettings"]

Threshold = Annotated[float, Field(ge=0, le=1)]


class ModerationSettings(BaseModel):
    """See ``serving.moderation.policy.ModerationPolicy``. The thresholds also decide what ``/v1/moderations``
    flags.

    A picture is pornographic by the advice of open_nsfw's makers above 0.8: ``thresholds: {sexual: 0.8}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    places: tuple[Place, ...] = ()
    threshold: Threshold = 0.5
    thresholds: dict[str, Threshold] = {}

    @field_validator("thresholds")
    @classmethod
    def _known(cls, given: dict[str, float]) -> dict[str, float]:
        for name in given:
            if name not in CATEGORIES:
                raise ValueError(f"there is no category '{name}'; there are {', '.join(CATEGORIES)}")
        return given

    def policy(self) -> ModerationPolicy:
        """The same as the gateway takes it."""
        return ModerationPolicy(frozenset(self.places), self.threshold, dict(self.thresholds))
