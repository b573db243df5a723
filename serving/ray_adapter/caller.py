"""Calling a deployment: time limits, cancellation, and Ray's errors as ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from serving import tracing
from serving.errors import ApiError, ServiceUnavailable, answer_for
from serving.origin import outgoing

__all__ = ["Caller", "is_cancelled", "restarting", "translated"]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


class Caller:
    """One handle, its name in error sentences, and how long an answer may take."""

    def __init__(self, handle: DeploymentHandle, service: str, timeout_seconds: float) -> None:
        self._handle = handle
        self._service = service
        self._timeout_seconds = timeout_seconds

    async def call(self, method: str, *arguments: Any) -> Any:
        with tracing.call_span(f"call {method}"):
            return await self.answer(getattr(self._handle, method).remote(*arguments, **outgoing()))

    async def answer(self, response: DeploymentResponse[Any], *before: DeploymentResponse[Any]) -> Any:
        """What a call that was begun gives; ``before`` are calls whose results it waits for."""

        def cancel() -> None:
            for begun in (response, *before):
                begun.cancel()

        try:
            return await asyncio.wait_for(_as_awaitable(response), self._timeout_seconds)
        except (RayError, RayServeException) as error:
            # First: Ray's wrapper of a remote TimeoutError or CancelledError is one of these, too.
            raise translated(error, self._service) from None
        except TimeoutError:
            cancel()
            raise self._too_slow() from None
        except asyncio.CancelledError:
            if not is_cancelled():
                raise restarting(self._service) from None
            cancel()
            raise

    async def stream(self, method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
        """What a streaming method gives, each item within the time limit. Closing it cancels the call."""
        span = tracing.open_span(f"call {method}")
        answer = getattr(self._handle.options(stream=True), method).remote(*arguments, **outgoing(span))
        items = aiter(answer)
        finished = False
        try:
            while True:
                async with asyncio.timeout(self._timeout_seconds):
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        break
                yield item
            finished = True
        except (RayError, RayServeException) as error:
            finished = True
            raise translated(error, self._service) from None
        except TimeoutError:
            raise self._too_slow() from None
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            finished = True
            raise restarting(self._service) from None
        finally:
            span.close()
            if not finished:
                answer.cancel()

    async def ready(self) -> bool:
        return bool(await self.call("ready"))

    def _too_slow(self) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"{self._service} did not answer within {self._timeout_seconds:g} seconds. "
            "Please try again, or with smaller media."
        )


async def _as_awaitable(response: Awaitable[T]) -> T:
    # asyncio.wait_for wants a coroutine it can cancel; Ray's response is only awaitable.
    return await response


def is_cancelled() -> bool:
    """Whether this task is being cancelled. Ray raises ``CancelledError`` for a remote cancellation, too."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def restarting(service: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"{service} is restarting. Please try again in a minute.")


def translated(error: Exception, service: str) -> Exception:
    """The error a caller may see. What no table of ours knows keeps its words to the log."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        while isinstance(cause, RayTaskError):
            cause = cause.cause
        if isinstance(cause, Exception) and answer_for(cause) is not None:
            return cause
        if isinstance(cause, asyncio.CancelledError):
            return restarting(service)
        _LOG.error("%s failed unexpectedly: %s", service, error)
        return ApiError(f"{service} failed unexpectedly. Please try again, or tell the operator.")
    if isinstance(error, BackPressureError):
        return ServiceUnavailable(f"{service} is busy: its queue is full. Please try again in a few seconds.")
    if isinstance(error, RayActorError | DeploymentUnavailableError | GetTimeoutError | TaskCancelledError):
        return restarting(service)
    _LOG.error("%s cannot be reached: %s", service, error)
    return ServiceUnavailable(f"{service} cannot be reached. Please try again in a minute.")
