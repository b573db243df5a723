"""How long what waits for a model has waited by now: what the number of replicas is chosen by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

__all__ = ["QUEUE_SECONDS", "Waiting", "longest_wait"]

QUEUE_SECONDS = "queue_seconds"
"""What replicas report it as (``record_autoscaling_stats``)."""


class Waiting(Protocol):
    """Something with a queue, such as a ``MicroBatcher``."""

    @property
    def waiting_seconds(self) -> float:
        """For how long the first of those that wait has waited; 0 while nothing waits."""


def longest_wait(queues: Iterable[Waiting | None]) -> float:
    """Of several queues before models that run side by side; ``None`` stands for a model that is not served."""
    return max((queue.waiting_seconds for queue in queues if queue is not None), default=0.0)
