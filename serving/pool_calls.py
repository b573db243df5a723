"""What this process sees of the deployments it calls: how many calls, how long they take, how they end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from serving.breaker import Breaker, BreakerConfig, BreakerState

__all__ = ["CallStatistics", "OpenCall", "Outcome", "PoolBook", "PoolCalls"]

_REMEMBERED = 512  # latencies, of the latest calls

Outcome: TypeAlias = Literal["answered", "failed", "refused", "refused_open", "broken_off", "left"]
"""How a call ended: with an answer or an error about its arguments; without one; with a full queue; at once,
because the breaker is open; in the middle of its answer; by the caller, who has gone.
"""

OUTCOMES: tuple[Outcome, ...] = ("answered", "failed", "refused", "refused_open", "broken_off", "left")


@dataclass(frozen=True, slots=True)
class CallStatistics:
    """Counts since the start; ``latency_seconds`` by percentile (50, 95, 99) of the latest answers, to the first
    piece of those that stream. Empty where there was none yet.
    """

    ongoing: int
    retried: int
    outcomes: Mapping[Outcome, int]
    latency_seconds: Mapping[int, float]
    breaker: BreakerState


class PoolCalls:
    """The calls of one deployment from this process, behind its breaker. Use from one event loop."""

    def __init__(self, deployment: str, service: str, config: BreakerConfig | None = None) -> None:
        self.deployment = deployment
        self.retried = 0
        self.breaker = Breaker(deployment, service, config or BreakerConfig())
        self._ongoing = 0
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)

    def begin(self, *, timed: bool = True) -> OpenCall:
        """Make a call; its end must be told. Raises ``CircuitOpen``. One not ``timed`` is a part of another
        whose latency is not its own.
        """
        try:
            return OpenCall(self, timed)
        except Exception:
            self._outcomes["refused_open"] += 1
            raise

    def statistics(self) -> CallStatistics:
        """As things stand now."""
        ordered = sorted(self._latencies)
        latencies = {
            percent: round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 4)
            for percent in ((50, 95, 99) if ordered else ())
        }
        return CallStatistics(
            self._ongoing, self.retried, dict(self._outcomes), latencies, self.breaker.state
        )


class OpenCall:
    """A call under way: ``answered`` by its first piece, and ended once."""

    def __init__(self, calls: PoolCalls, timed: bool = True) -> None:
        self._permit = calls.breaker.admit()
        self._calls = calls
        self._timed = timed
        self._began = time.perf_counter()
        self._answered = self._ended = False
        calls._ongoing += 1

    def answered(self) -> None:
        """The service has begun to answer."""
        if not self._answered:
            self._answered = True
            self._permit.succeeded()
            if self._timed:
                self._calls._latencies.append(time.perf_counter() - self._began)

    def end(self, outcome: Outcome) -> None:
        """How it ended; what is told after that is not heard."""
        if self._ended:
            return
        self._ended = True
        if outcome == "answered":
            self.answered()
        elif outcome == "failed":
            if self._answered:
                outcome = "broken_off"
            self._permit.failed()
        self._permit.dropped()
        self._calls._ongoing -= 1
        self._calls._outcomes[outcome] += 1


class PoolBook:
    """The calls of all deployments from this process, by the deployment's name."""

    def __init__(self, config: BreakerConfig | None = None) -> None:
        self._config = config or BreakerConfig()
        self._calls: dict[str, PoolCalls] = {}

    def of(self, deployment: str, service: str) -> PoolCalls:
        """Those of one deployment; ``service`` is what error sentences call it."""
        if deployment not in self._calls:
            self._calls[deployment] = PoolCalls(deployment, service, self._config)
        return self._calls[deployment]

    def all(self) -> tuple[PoolCalls, ...]:
        """In order of name."""
        return tuple(calls for _, calls in sorted(self._calls.items()))
