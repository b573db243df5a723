"""What a tenant is told of its limits with every answer, as OpenAI tells it."""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders

from serving.limits.windows import Standing

__all__ = ["CURRENT_HEADERS", "RateHeaders"]


@dataclass(slots=True)
class RateHeaders:
    """The standings of one request, as they become known; each with its limit."""

    requests: tuple[int, Standing] | None = None
    tokens: tuple[int, Standing] | None = None

    def write(self, headers: MutableHeaders) -> None:
        """Put them into an answer's headers."""
        for name, known in (("requests", self.requests), ("tokens", self.tokens)):
            if known is None:
                continue
            limit, standing = known
            headers[f"x-ratelimit-limit-{name}"] = str(limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(max(0, limit - standing.used))
            headers[f"x-ratelimit-reset-{name}"] = _duration(standing.reset_seconds)


CURRENT_HEADERS: ContextVar[RateHeaders | None] = ContextVar("rate_headers", default=None)
"""Those of the request under way; ``None`` outside of one."""


def _duration(seconds: float) -> str:
    """As OpenAI writes it: ``1m1s``, ``7s``, ``0s``."""
    minutes, rest = divmod(math.ceil(max(0.0, seconds)), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
