"""What Ray Serve's controller says of the deployments, and what this process sees of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ray.serve.context import _get_global_client
from ray.serve.schema import DeploymentDetails, ServeInstanceDetails

from serving.pool_calls import CallStatistics, PoolBook
from serving.ray_adapter.caller import Caller
from serving.services import PoolHealth, PoolStatus

__all__ = ["RayPools", "controller_details"]

_LOG = logging.getLogger(__name__)

_FRESH_SECONDS = 1.0
_TIMEOUT_SECONDS = 3.0
_HEALTH: dict[str, PoolHealth] = {
    "HEALTHY": "healthy",
    "UPSCALING": "scaling",
    "DOWNSCALING": "scaling",
    "UPDATING": "updating",
    "UNHEALTHY": "unhealthy",
    "DEPLOY_FAILED": "unhealthy",
}

Ask = Callable[[], Mapping[str, DeploymentDetails]]


class RayPools:
    """``serving.services.Pools`` over Ray Serve's controller. Use from one event loop.

    ``callers`` are those of the deployments that should be ready, by name; those in ``may_sleep`` may have no
    replicas as long as nobody calls them, and are not woken by being looked at. ``ask`` blocks, and is called in a
    thread: once at a time, a controller that does not answer holds one thread only.
    """

    def __init__(
        self,
        book: PoolBook,
        callers: Mapping[str, Caller],
        ask: Ask,
        may_sleep: frozenset[str] = frozenset(),
    ) -> None:
        self._book = book
        self._callers = dict(callers)
        self._ask = ask
        self._may_sleep = may_sleep
        self._asking: asyncio.Task[None] | None = None
        self._known: Mapping[str, DeploymentDetails] | None = None
        self._known_since = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """See ``Pools``."""
        return tuple(self._callers)

    @property
    def may_sleep(self) -> frozenset[str]:
        """See ``Pools``."""
        return self._may_sleep

    async def ready(self, name: str) -> bool:
        """See ``Pools``."""
        if name in self._may_sleep:
            # Being asked would wake it, and keep it awake.
            details = (await self._details() or {}).get(name)
            if details is not None:
                return _health(details) != "unhealthy"
        return await self._callers[name].ready()

    async def status(self) -> tuple[PoolStatus, ...]:
        """See ``Pools``."""
        details, calls = await self._details() or {}, self.calls()
        return tuple(_status(name, details.get(name), calls.get(name)) for name in sorted({*details, *calls}))

    def calls(self) -> Mapping[str, CallStatistics]:
        """See ``Pools``."""
        return {calls.deployment: calls.statistics() for calls in self._book.all()}

    async def _details(self) -> Mapping[str, DeploymentDetails] | None:
        """What the controller said last, ``None`` when that is too long ago."""
        if time.monotonic() - self._known_since > _FRESH_SECONDS:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._learn())
            await asyncio.wait({self._asking}, timeout=_TIMEOUT_SECONDS)
        old = time.monotonic() - self._known_since > _FRESH_SECONDS + _TIMEOUT_SECONDS
        return None if old else self._known

    async def _learn(self) -> None:
        try:
            self._known = await asyncio.to_thread(self._ask)
        except Exception as error:
            # Whatever keeps the controller from answering: what it said last holds for a moment, then nothing.
            _LOG.warning("Ray Serve's controller does not say how the deployments are: %s", error)
        else:
            self._known_since = time.monotonic()


def controller_details(application: str) -> Mapping[str, DeploymentDetails]:
    """The deployments of an application, by name. Blocks. Raises ``RayError`` or ``RayServeException``."""
    client: Any = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return {}
    # ``serve.status()`` is made of this, but leaves out how many replicas there should be.
    found = ServeInstanceDetails(**client.get_serve_details()).applications.get(application)
    return {} if found is None else found.deployments


def _status(name: str, details: DeploymentDetails | None, calls: CallStatistics | None) -> PoolStatus:
    if details is None:
        return PoolStatus(name, "unknown", {}, None, calls)
    replicas = Counter(replica.state.value.lower() for replica in details.replicas)
    return PoolStatus(name, _health(details), dict(replicas), details.target_num_replicas, calls)


def _health(details: DeploymentDetails) -> PoolHealth:
    return _HEALTH.get(details.status.value, "unknown")
