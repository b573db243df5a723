"""One request of a batch, sent in its tenant's turn until it is answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from serving.batches.config import BatchConfig
from serving.batches.lines import Request
from serving.batches.own_app import OwnAnswer, OwnApplication
from serving.batches.records import Batch
from serving.errors import ServiceUnavailable
from serving.fair_queue import FairQueue
from serving.identity import Caller, Scope

__all__ = ["ENDPOINTS", "Sender"]

ENDPOINTS: Final[dict[str, Scope]] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/moderations": "moderations",
}
"""What a batch can be for, and the scope a request there needs."""

_BUSY = frozenset({429, 502, 503, 504})


class Sender:
    """Sends requests of all batches of a gateway, so many at once, tenants by turns."""

    def __init__(self, config: BatchConfig, application: OwnApplication) -> None:
        self._config = config
        self._application = application
        waiting = 2 * config.workers * config.running_batches  # twice what there can be
        self._turns = FairQueue(
            config.requests_at_once,
            waiting,
            lambda: ServiceUnavailable("Too many batches are under way."),
            waiting_per_tenant=waiting,
        )

    async def next_answer(
        self, batch: Batch, take: Callable[[], Awaitable[Request | None]]
    ) -> tuple[Request, OwnAnswer | None] | None:
        """The batch's next request, which is taken when the tenant's turn has come, so that it waits in the file,
        and its answer; ``None`` at the end.

        An answer that says to come back is given only after so many attempts; between them the turn is somebody
        else's. There is no answer where none came in time, or whole, at any attempt.
        """
        taken: Request | None = None
        has_ended = False

        async def attempt() -> OwnAnswer | None:
            nonlocal taken, has_ended
            async with self._turns.turn(batch.tenant):
                taken = taken or await take()
                if taken is None:
                    has_ended = True
                    return None
                caller = Caller(batch.tenant, frozenset({ENDPOINTS[batch.endpoint]}), internal=True)
                try:
                    async with asyncio.timeout(self._config.request_timeout_seconds):
                        return await self._application.post(batch.endpoint, taken.body, caller)
                except TimeoutError:
                    return None

        attempts = AsyncRetrying(
            stop=stop_after_attempt(self._config.attempts),
            wait=self._pause_seconds,
            retry=retry_if_result(lambda answer: not has_ended and _is_busy(answer)),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        answer: OwnAnswer | None = await attempts(attempt)
        return None if taken is None else (taken, answer)

    def _pause_seconds(self, state: RetryCallState) -> float:
        """What the answer asks for, and never less than exponential backoff with full jitter (AWS Architecture
        Blog, 2015).
        """
        most = min(
            self._config.max_delay_seconds, self._config.first_delay_seconds * 2 ** (state.attempt_number - 1)
        )
        answer: OwnAnswer | None = state.outcome.result() if state.outcome else None
        asked = "" if answer is None else answer.headers.get("retry-after", "")
        told = min(float(asked), self._config.max_delay_seconds) if asked.isdigit() else 0.0
        return max(told, random.uniform(0, most))  # noqa: S311 - no secret


class _Error(msgspec.Struct):
    code: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error


def _is_busy(answer: OwnAnswer | None) -> bool:
    if answer is None:
        return True
    return answer.status in _BUSY and not (answer.status == 429 and _is_used_up(answer.body))


def _is_used_up(body: bytes) -> bool:
    """Whether what a tenant may have is used up, which does not come back by waiting."""
    try:
        return msgspec.json.decode(body, type=_Refusal).error.code == "insufficient_quota"
    except msgspec.DecodeError:
        return False
