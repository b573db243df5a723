"""Settings of batches: how much of the platform they may have."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from serving.batches.config import BatchConfig

__all__ = ["BatchSettings"]

_DEFAULTS = BatchConfig()


class BatchSettings(BaseModel):
    """``requests_at_once`` are under way in one gateway, of all batches together. A decoder on a GPU that answers
    hundreds at once has room for more than the few that leave a laptop usable.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    requests_at_once: int = Field(_DEFAULTS.requests_at_once, gt=0, le=1024)
    max_unfinished: int = Field(_DEFAULTS.max_unfinished, gt=0)

    def config(self) -> BatchConfig:
        """As the gateway takes them. One batch alone may use all the room there is."""
        return BatchConfig(
            requests_at_once=self.requests_at_once,
            workers=self.requests_at_once,
            max_unfinished=self.max_unfinished,
        )
