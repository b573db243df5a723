"""What share of requests is answered over a month: measured losses of each kind of failure, times how often it is.

A loss is counted in seconds: the share of answers that did not come (with OpenAI's client and its own retries)
while one such failure was mended, times how long that was, in ``results/chaos.json``. Where none failed, it is
as large as it may be by 95 % given how many were asked (the rule of three). How often things fail is assumed,
below, for a cluster of the production profile; it is to be replaced by what an operator counts. ``make bench-
availability``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from benchmarks.report import RESULTS, write

__all__ = ["Loss", "availability", "losses"]

GOAL = 0.9995
_MONTH_SECONDS = 30 * 24 * 3600.0

FAILURES_PER_MONTH = {
    "replicas": 120.0,  # of 120 replicas, each once a month
    "node": 30.0,  # of 60 machines, spot ones among them, each every two months
    "controller": 2.0,
    "proxy": 6.0,  # of 12 machines with gateways
    "head": 1.0,
}
"""Assumed, not measured."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One kind of failure: how often in a month, and how many seconds of full outage one of them amounts to."""

    kind: str
    per_month: float
    seconds: float
    asked: int
    failed: int

    @property
    def seconds_per_month(self) -> float:
        """All of them together."""
        return self.per_month * self.seconds


def losses(parts: dict[str, Any]) -> list[Loss]:
    """Of what ``benchmarks/chaos.py`` has measured."""
    found = []
    for kind, per_month in FAILURES_PER_MONTH.items():
        part = parts[kind]
        whole = [outcomes for name, outcomes in part["asked"].items() if name != "stream"]
        asked = sum(sum(outcomes.values()) for outcomes in whole)
        failed = asked - sum(outcomes.get("complete", 0) for outcomes in whole)
        seconds = max(failed, 3) / asked * part["seconds"] / part["kills"]
        found.append(Loss(kind, per_month, seconds, asked, failed))
    return found


def availability(found: list[Loss]) -> float:
    """The share of a month's requests that is answered, of these failures alone."""
    return 1 - sum(loss.seconds_per_month for loss in found) / _MONTH_SECONDS


def main() -> int:
    """Compute, print, write ``results/availability.json``."""
    parts = json.loads((RESULTS / "chaos.json").read_text("utf-8"))["parts"]
    found = losses(parts)
    share = availability(found)
    for loss in found:
        print(
            f"{loss.kind}: {loss.per_month:g} a month, {loss.failed} of {loss.asked} answers lost, "
            f"{loss.seconds:.2f} s each, {loss.seconds_per_month:.0f} s a month"
        )
    result = {
        "availability": round(share, 6),
        "goal": GOAL,
        "allowed_seconds_per_month": round((1 - GOAL) * _MONTH_SECONDS),
        "losses": {
            loss.kind: {
                "per_month": loss.per_month,
                "seconds_each": round(loss.seconds, 3),
                "seconds_per_month": round(loss.seconds_per_month, 1),
                "asked": loss.asked,
                "failed": loss.failed,
            }
            for loss in found
        },
    }
    print(f"availability {share:.6f}, goal {GOAL}. Written to {write('availability', result)}")
    return 0 if share >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
