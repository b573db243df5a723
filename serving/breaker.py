"""A circuit breaker before a deployment: one that keeps failing is left alone for a while, and calls of it are
answered at once.

After M. Nygard, "Release It!" (2007).
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import dataclass
from typing import Literal, TypeAlias

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

from serving.errors import CircuitOpen

__all__ = ["Breaker", "BreakerConfig", "BreakerState", "Permit"]

_LOG = logging.getLogger("manymodal.gateway")

BreakerState: TypeAlias = Literal["closed", "half_open", "open"]
"""Closed: the deployment is called. Open: it failed and is left alone. Half open: one call finds out."""

_STATES: dict[str, BreakerState] = {
    STATE_CLOSED: "closed",
    STATE_HALF_OPEN: "half_open",
    STATE_OPEN: "open",
}


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """``failures`` in a row open it, for ``retry_seconds``."""

    failures: int = 5
    retry_seconds: int = 3

    def __post_init__(self) -> None:
        if self.failures < 1 or self.retry_seconds < 1:
            raise ValueError("A circuit breaker's failures and retry_seconds are at least 1.")


class Breaker:
    """Of one deployment, in one gateway. ``service`` is what error sentences call it.

    Failures are those of the service itself, after a call was tried again elsewhere: not errors about what a client
    has sent, not a full queue, not an answer that breaks off later.
    """

    def __init__(self, deployment: str, service: str, config: BreakerConfig) -> None:
        self._deployment = deployment
        self._service = service
        self._retry_seconds = config.retry_seconds
        self._breaker = CircuitBreaker(config.failures, config.retry_seconds, _Failed, name=deployment)
        self._probe: Permit | None = None

    @property
    def state(self) -> BreakerState:
        """How it stands now."""
        return _STATES[self._breaker.state]

    def admit(self) -> Permit:
        """Leave to make a call; its outcome must be told. Raises ``CircuitOpen``."""
        state = self.state
        if state == "closed":
            return Permit(self)
        # One that probes and gets no answer does not keep everybody else waiting for it.
        probing = self._probe is not None and self._probe.age_seconds < self._retry_seconds
        if state == "open" or probing:
            wait = self._breaker.open_remaining if state == "open" else self._retry_seconds
            raise CircuitOpen(
                f"{self._service} failed several times in a row and is left alone for a moment. "
                f"Please try again in {max(1, math.ceil(wait))} seconds."
            )
        self._probe = Permit(self, probe=True)
        return self._probe

    def _settle(self, permit: Permit, *, failed: bool | None) -> None:
        if self._probe is permit:
            self._probe = None
        if failed is None:
            return
        before = self._breaker.state
        if failed:
            # Calls from before it opened tell nothing new, and would keep it open.
            if before == STATE_CLOSED or permit.probe:
                with contextlib.suppress(_Failed), self._breaker:
                    raise _Failed
        else:
            self._breaker.reset()
        after = self._breaker.state
        if before == STATE_CLOSED and after != STATE_CLOSED:
            _LOG.error("The deployment '%s' fails and is left alone for a moment.", self._deployment)
        elif before != STATE_CLOSED and after == STATE_CLOSED:
            _LOG.warning("The deployment '%s' answers again.", self._deployment)


class Permit:
    """One call that the breaker let through. The first outcome that is told counts."""

    def __init__(self, breaker: Breaker, *, probe: bool = False) -> None:
        self.probe = probe
        self._breaker = breaker
        self._began = time.monotonic()
        self._told = False

    @property
    def age_seconds(self) -> float:
        """Since it was given."""
        return time.monotonic() - self._began

    def succeeded(self) -> None:
        """The service answered."""
        self._tell(failed=False)

    def failed(self) -> None:
        """The service did not answer, or could not."""
        self._tell(failed=True)

    def dropped(self) -> None:
        """It cannot be said: the caller has left, or the call was never made."""
        self._tell(failed=None)

    def _tell(self, *, failed: bool | None) -> None:
        if not self._told:
            self._told = True
            self._breaker._settle(self, failed=failed)


class _Failed(Exception):
    """Tells the library that a call has failed."""
