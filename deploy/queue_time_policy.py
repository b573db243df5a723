"""How many replicas of an encoder there are to be: by requests, and by how long these wait for the model.

Ray Serve's controller gets this file's contents, not its name (``cloudpickle`` by value), so nothing here needs
more than Ray.
"""

from __future__ import annotations

import math
from typing import Any

from ray.serve.config import AutoscalingContext

__all__ = ["QueueTimePolicy", "wanted_replicas"]

_LARGEST_STEP = 2.0
"""Waiting grows without bound as a model gets busy, so it says that replicas lack, not how many: at most as many
more as there are.
"""


def wanted_replicas(
    requests: float, target_requests: float, running: int, queue_seconds: float, target_queue_seconds: float
) -> float:
    """The larger of what requests and waiting ask for.

    ``requests`` wait or run in all, and ``target_requests`` is right for one replica; ``running`` replicas have
    queues whose first has waited for ``queue_seconds`` on average. Never less for more requests or longer waiting.
    """
    by_requests = requests / target_requests
    waiting = queue_seconds / target_queue_seconds
    # From half of what is right on nobody goes: with fewer replicas waiting grows faster than they become fewer.
    by_waiting = running * min(waiting if waiting > 1 else min(1.0, 2 * waiting), _LARGEST_STEP)
    return max(by_requests, by_waiting)


class QueueTimePolicy:
    """A policy of Ray Serve's. Delays and the start from nothing are Serve's own, applied to its answer."""

    def __init__(self, metric: str, target_queue_seconds: float) -> None:
        """``metric`` is the name by which replicas report how long the first in their queue has waited."""
        self._metric = metric
        self._target_queue_seconds = target_queue_seconds

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """The number of replicas wanted, and what is to be remembered: nothing."""
        reported = ((context.aggregated_metrics or {}).get(self._metric) or {}).values()
        # Serve gives no number for a replica that has not reported within its window.
        waits = [seconds for seconds in reported if seconds is not None and math.isfinite(seconds)]
        wanted = wanted_replicas(
            requests=max(0.0, context.total_num_requests),
            target_requests=context.config.get_target_ongoing_requests(),
            running=context.current_num_replicas,
            queue_seconds=max(0.0, sum(waits) / len(waits)) if waits else 0.0,
            target_queue_seconds=self._target_queue_seconds,
        )
        most, least = context.capacity_adjusted_max_replicas, context.capacity_adjusted_min_replicas
        # Averages of whole numbers are off by the last digits, and Serve rounds up.
        return min(most, max(least, round(wanted, 6))), {}
