"""Calling a deployment: time limits, cancellation, second tries, a circuit breaker, and Ray's errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from serving import tracing
from serving.errors import ServiceUnavailable
from serving.origin import outgoing
from serving.patience import ran_out
from serving.pool_calls import OpenCall, Outcome, PoolCalls
from serving.ray_adapter.failures import RAY_ERRORS, failure_of, restarting, translated

__all__ = ["Begun", "Caller", "Earlier", "given_up", "is_cancelled", "restarting", "translated"]

T = TypeVar("T")

_TRIES = 3
_WAIT = wait_random_exponential(
    multiplier=0.1, max=1.0
)  # seconds; the handle itself looks for another replica
_NOTHING = object()
_SETTLED_SECONDS = 1.0  # in which a call that others wait for says that it has ended, if it has

Begun = tuple[DeploymentResponse[Any], ...]
"""Calls that were made: the one whose result is wanted, and those whose results it waits for."""


class Caller:
    """One handle, its name in error sentences, and how long an answer may take.

    ``calls`` counts, and has the breaker; without it the caller has its own. What is ``repeatable`` may be done
    twice: it is asked again, with jitter and at most three times in all, when the replica that was to answer is
    lost. Pieces of a stream come within ``piece_timeout_seconds``, by default ``timeout_seconds``, of each other.
    """

    def __init__(
        self,
        handle: DeploymentHandle,
        service: str,
        timeout_seconds: float,
        calls: PoolCalls | None = None,
        piece_timeout_seconds: float | None = None,
    ) -> None:
        self._handle = handle
        self._service = service
        self._timeout_seconds = timeout_seconds
        self._piece_timeout_seconds = piece_timeout_seconds or timeout_seconds
        self.calls = calls or PoolCalls("", service)

    async def call(self, method: str, *arguments: Any, repeatable: bool = True, key: str = "") -> Any:
        """What a method answers. Calls with the same ``key`` go to the same replica where the deployment's router
        knows keys (``deploy/sticky_router.py``).
        """
        handle = self._handle
        asked = handle.options(method_name=method, session_id=key) if key else getattr(handle, method)
        with tracing.call_span(f"call {method}"):
            return await self.answer(lambda: (asked.remote(*arguments, **outgoing()),), repeatable=repeatable)

    async def answer(
        self, begin: Callable[[], Begun], *, repeatable: bool = True, earlier: Earlier | None = None
    ) -> Any:
        """What a call gives. ``begin`` makes it, and the calls it waits for, once for each try. Where the
        ``earlier`` of these is why there is no answer, this service is not to blame.
        """
        call = self.calls.begin()
        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                result: Any = await self._retrying(repeatable)(self._tried, begin)
        except RAY_ERRORS as error:
            # First: Ray's wrapper of a remote TimeoutError or CancelledError is one of these, too.
            if earlier is not None and _is_of_service(error) and await earlier.is_why(call):
                raise translated(earlier.failure, earlier.service) from None
            _end(call, error)
            raise translated(error, self._service) from None
        except TimeoutError:
            if not limit.expired():
                raise
            if earlier is not None and await earlier.is_why(call, too_slow=True):
                raise _too_slow(earlier.service, self._timeout_seconds) from None
            call.end("failed")
            raise _too_slow(self._service, self._timeout_seconds) from None
        except asyncio.CancelledError as error:
            if not is_cancelled():
                if earlier is not None and await earlier.is_why(call):
                    raise translated(earlier.failure, earlier.service) from None
                _end(call, error)
                raise restarting(self._service) from None
            raise
        else:
            call.end("answered")
            return result
        finally:
            call.end(given_up())

    async def stream(
        self, method: str, *arguments: Any, repeatable: bool = True
    ) -> AsyncGenerator[Any, None]:
        """What a streaming method gives: the first piece within the time limit, each other within that of pieces.
        Closing it cancels the call, which is made again only as long as nothing has come.
        """
        call, finished, seconds = self.calls.begin(), False, self._timeout_seconds
        span = tracing.open_span(f"call {method}")
        handle = self._handle.options(stream=True)
        begun: list[DeploymentResponseGenerator[Any]] = []

        async def first() -> tuple[Any, AsyncIterator[Any]]:
            begun[:] = [getattr(handle, method).remote(*arguments, **outgoing(span))]
            items = aiter(begun[0])
            return await anext(items, _NOTHING), items

        try:
            async with asyncio.timeout(seconds) as limit:
                begun_with: tuple[Any, AsyncIterator[Any]] = await self._retrying(repeatable)(first)
                item, items = begun_with
            call.answered()
            seconds = self._piece_timeout_seconds
            while item is not _NOTHING:
                yield item
                async with asyncio.timeout(seconds) as limit:
                    item = await anext(items, _NOTHING)
            finished = True
            call.end("answered")
        except RAY_ERRORS as error:
            finished = True
            _end(call, error)
            raise translated(error, self._service) from None
        except TimeoutError:
            if not limit.expired():
                raise
            call.end("failed")
            raise _too_slow(self._service, seconds) from None
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            finished = True
            _end(call, error)
            raise restarting(self._service) from None
        finally:
            span.close()
            call.end(given_up())
            if not finished and begun:
                begun[0].cancel()

    async def ready(self) -> bool:
        """Asks past the breaker, and tells it nothing: one replica that is ready says little about the others."""
        try:
            return bool(
                await asyncio.wait_for(
                    _as_awaitable(self._handle.ready.remote(**outgoing())), self._timeout_seconds
                )
            )
        except RAY_ERRORS as error:
            raise translated(error, self._service) from None
        except TimeoutError:
            raise _too_slow(self._service, self._timeout_seconds) from None
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise restarting(self._service) from None

    async def _tried(self, begin: Callable[[], Begun]) -> Any:
        begun = begin()
        try:
            return await _as_awaitable(begun[0])
        except asyncio.CancelledError:
            if is_cancelled():
                for response in begun:
                    response.cancel()
            raise

    def _retrying(self, repeatable: bool) -> AsyncRetrying:
        return AsyncRetrying(
            stop=stop_after_attempt(_TRIES if repeatable else 1),
            wait=_WAIT,
            retry=retry_if_exception(_is_lost),
            before_sleep=self._note_retry,
            reraise=True,
        )

    def _note_retry(self, _: RetryCallState) -> None:
        self.calls.retried += 1


class Earlier:
    """A call of another deployment, whose result the one that is asked for waits for. ``response`` is that of the
    latest try.
    """

    def __init__(self, service: str, call: OpenCall) -> None:
        self.service = service
        self.failure: BaseException = TimeoutError()
        self.response: Awaitable[Any] | None = None
        self._call = call

    async def is_why(self, waiting: OpenCall, *, too_slow: bool = False) -> bool:
        """Whether it is the reason why the one that waits for it has no answer, which may be that it is itself
        ``too_slow``. If so both ends are told.
        """
        try:
            async with asyncio.timeout(_SETTLED_SECONDS) as limit:
                if self.response is not None:
                    await self.response  # which brings its result here: only now, when it is thrown away
            self._call.end("answered")
            return False
        except (*RAY_ERRORS, TimeoutError, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            if limit.expired() and not too_slow:  # it still works
                return False
            self.failure = error
            _end(self._call, error)
            waiting.end("left")
            return True


async def _as_awaitable(response: Awaitable[T]) -> T:
    # Ray's response is only awaitable, not a coroutine.
    return await response


def is_cancelled() -> bool:
    """Whether this task is being cancelled. Ray raises ``CancelledError`` for a remote cancellation, too."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def given_up() -> Outcome:
    """How a call ends whose answer nobody waits for any longer."""
    return "failed" if ran_out() else "left"


def _too_slow(service: str, seconds: float) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"{service} did not answer within {seconds:g} seconds. Please try again, or with smaller media."
    )


def _is_of_service(error: BaseException) -> bool:
    """Whether an error says something of the service, and not of what it was asked."""
    return failure_of(error) not in ("ours", "unknown")


def _is_lost(error: BaseException) -> bool:
    return failure_of(error) == "gone" and not is_cancelled()


def _end(call: OpenCall, error: BaseException) -> None:
    """Count how a call ended that raised."""
    failure = failure_of(error)
    if failure == "busy":
        call.end("refused")
    else:
        # An error that the replica itself raised is an answer: a client's medium may be the reason.
        call.end("failed" if _is_of_service(error) else "answered")
