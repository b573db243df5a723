"""Trying again what may pass: busy services, servers that are down for a moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from serving.errors import MediaServerUnavailable, QuotaExceeded, RateLimited, answer_for
from serving.ingest.config import IngestConfig

__all__ = ["Retries", "ServiceTrouble", "is_own_trouble", "may_pass"]

Result = TypeVar("Result")

_PASSING = frozenset({408, 425, 429, 502, 503, 504})


class ServiceTrouble(Exception):
    """A service of the platform stayed away in spite of all attempts; a job stops and can be resumed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Retries:
    """Exponential backoff with full jitter (AWS Architecture Blog, 2015), by tenacity."""

    def __init__(self, config: IngestConfig) -> None:
        self._attempts = config.attempts
        self._first_seconds = config.first_delay_seconds
        self._most_seconds = config.max_delay_seconds
        self._waits_for_limits = config.waits_for_limits
        self.made = 0  # attempts after a first one

    async def run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """The result of ``work``, which is called again as long as what it raises may pass.

        Raises its last error. Limits of the tenant are waited for as the settings say, and are no attempts.
        """
        while True:
            try:
                return await self._attempted(work)
            except RateLimited as error:
                if not self._waits_for_limits or not may_pass(error):
                    raise
                await asyncio.sleep(error.retry_after_seconds or 1)

    async def _attempted(self, work: Callable[[], Awaitable[Result]]) -> Result:
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(multiplier=self._first_seconds, max=self._most_seconds),
            retry=retry_if_exception(lambda error: may_pass(error) and not isinstance(error, RateLimited)),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                self.made += attempt.retry_state.attempt_number > 1
                return await work()
        raise AssertionError("tenacity ends with a result or an error")

    def pause_seconds(self, attempt: int) -> float:
        """How long to wait after so many attempts, for loops that try again only a part."""
        most = min(self._most_seconds, self._first_seconds * 2 ** (attempt - 1))
        return random.uniform(0, most)  # noqa: S311 - no secret

    @property
    def attempts(self) -> int:
        """How many are made in all."""
        return self._attempts


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later: busy, down, timed out."""
    if not isinstance(error, Exception):
        return False
    if isinstance(error, MediaServerUnavailable):
        return True
    if isinstance(error, RateLimited):
        # What is used up for good, or more than a limit's whole, is this item's end and not the job's.
        return error.retry_after_seconds is not None and not isinstance(error, QuotaExceeded)
    answer = answer_for(error)
    return answer is not None and answer.status in _PASSING


def is_own_trouble(error: BaseException) -> bool:
    """Whether the platform's own services were at fault, and not a stranger's server or the medium."""
    return may_pass(error) and not isinstance(error, MediaServerUnavailable)
