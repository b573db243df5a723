"""Turns at the decoder, as ``serving.fair_queue`` gives them: whoever holds fewest is next."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any

import simpy

from deploy.simulation.refusal import Refused

__all__ = ["Turns"]

_FULL = Refused(503, 3)  # serving.errors: EngineOverloaded
_TOO_MANY = Refused(429, 2)  # RateLimited by FairQueue


class Turns:
    """``slots`` for all; ``waiting`` may wait, three quarters of them of one tenant.

    Unlike there, a newcomer to a full queue is refused whoever waits in it, and nothing is kept free for tenants to
    come: with many tenants, none holds most of what there is.
    """

    def __init__(
        self,
        env: simpy.Environment,
        slots: int,
        waiting: int,
        wait_seconds: float,
        waits: list[tuple[float, float]] | None = None,
    ) -> None:
        """``waits`` collects when each turn was asked for, and how many seconds it was waited for."""
        self._env = env
        self._free = slots
        self._waiting = waiting
        self._wait_seconds = wait_seconds
        self._waits = waits
        self._held: dict[int, int] = {}
        self._lines: dict[int, deque[simpy.Event]] = {}
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._count

    def take(self, tenant: int) -> Generator[simpy.Event, Any, None]:
        """Wait for a slot. Raises ``Refused``."""
        if not self._lines and self._free > 0:
            self._hold(tenant)
            self._note(self._env.now)
            return
        line = self._lines.get(tenant)
        if line is not None and len(line) >= self._waiting * 3 // 4:
            raise _TOO_MANY
        if self._count >= self._waiting:
            raise _FULL
        if line is None:
            line = self._lines[tenant] = deque()
        turn = self._env.event()
        line.append(turn)
        self._count += 1
        self._next()
        since = self._env.now
        yield turn | self._env.timeout(self._wait_seconds)
        if not turn.triggered:
            self._leave(tenant, turn)
            raise _FULL
        self._note(since)

    def release(self, tenant: int) -> None:
        """Let a slot go."""
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._next()

    def _note(self, since: float) -> None:
        if self._waits is not None:
            self._waits.append((since, self._env.now - since))

    def _hold(self, tenant: int) -> None:
        self._free -= 1
        self._held[tenant] = self._held.get(tenant, 0) + 1

    def _next(self) -> None:
        while self._lines and self._free > 0:
            tenant = min(self._lines, key=lambda one: self._held.get(one, 0))
            turn = self._lines[tenant][0]
            self._leave(tenant, turn)
            if tenant in self._lines:  # served just now: behind its equals
                self._lines[tenant] = self._lines.pop(tenant)
            self._hold(tenant)
            turn.succeed()

    def _leave(self, tenant: int, turn: simpy.Event) -> None:
        line = self._lines[tenant]
        line.remove(turn)
        self._count -= 1
        if not line:
            del self._lines[tenant]
