"""More and fewer replicas, as Ray Serve's controller decides it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from typing import Any

import simpy

from deploy.pool_settings import AutoscalingSettings
from deploy.queue_time_policy import wanted_replicas
from deploy.simulation.replica_pool import ReplicaPool

__all__ = ["autoscale"]

_TICK_SECONDS = 1.0


def autoscale(
    pool: ReplicaPool[Any], settings: AutoscalingSettings, start_seconds: float
) -> Generator[simpy.Event, Any, None]:
    """Look at a pool every second. ``deploy.queue_time_policy`` decides over averages of the look-back period, and
    a decision counts once it has stood for its delay. A replica is there ``start_seconds`` later.
    """
    env = pool.env
    seen: deque[tuple[float, float]] = deque(maxlen=max(1, round(settings.look_back_seconds / _TICK_SECONDS)))
    coming = 0
    since, direction = env.now, 0

    def come() -> Generator[simpy.Event, Any, None]:
        nonlocal coming
        yield env.timeout(start_seconds)
        coming -= 1
        pool.start()

    while True:
        yield env.timeout(_TICK_SECONDS)
        seen.append((float(pool.ongoing), pool.oldest_wait_seconds))
        present = len(pool.replicas) + coming
        wanted = _wanted(settings, seen, len(pool.replicas))
        now_direction = (wanted > present) - (wanted < present)
        if now_direction != direction:
            direction, since = now_direction, env.now
        delay = settings.upscale_delay_seconds if direction > 0 else settings.downscale_delay_seconds
        if not direction or env.now - since < delay:
            continue
        for _ in range(wanted - present):
            coming += 1
            env.process(come())
        for _ in range(min(present - wanted, len(pool.replicas))):
            pool.stop()
            direction = 0


def _wanted(settings: AutoscalingSettings, seen: deque[tuple[float, float]], running: int) -> int:
    queue_target = settings.target_queue_seconds
    wanted = wanted_replicas(
        requests=sum(one for one, _ in seen) / len(seen),
        target_requests=settings.target_ongoing_requests,
        running=running,
        queue_seconds=sum(wait for _, wait in seen) / len(seen) if queue_target else 0.0,
        target_queue_seconds=queue_target or 1.0,
    )
    return min(settings.max_replicas, max(settings.min_replicas, math.ceil(round(wanted, 6))))
