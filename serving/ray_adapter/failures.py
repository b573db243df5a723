"""What Ray's errors mean, and what a caller may see of them."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal, TypeAlias

import grpc
from ray.exceptions import (
    AsyncioActorExit,
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    RequestCancelledError,
)

from serving.errors import ApiError, EngineUnavailable, ServiceBusy, ServiceUnavailable, answer_for

__all__ = ["RAY_ERRORS", "Failure", "failure_of", "restarting", "translated"]

_LOG = logging.getLogger(__name__)

RAY_ERRORS = (RayError, RayServeException, grpc.RpcError)
"""Everything that a call may raise which is no error of the callee's own. ``grpc.RpcError`` is what handles that
send their messages past Ray's core let through of statuses other than ``UNAVAILABLE``.
"""

Failure: TypeAlias = Literal["gone", "away", "busy", "ours", "unknown"]
"""``gone``: the replica is lost, another one may answer. ``away``: the service is. ``busy``: its queue is full.
``ours``: an error of the platform, raised in the replica. ``unknown``: another error raised there.
"""

# The answer of a replica is lost: it, its process or its node has died, cannot be reached, or is being stopped.
_GONE = (
    RayActorError,
    AsyncioActorExit,
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,
    TaskCancelledError,
    RequestCancelledError,
    asyncio.CancelledError,
)


def failure_of(error: BaseException) -> Failure:
    """What an error of a call means."""
    cause = _cause(error)
    if isinstance(cause, _GONE):
        return "gone"
    if isinstance(cause, BackPressureError):
        return "busy"
    if isinstance(cause, grpc.RpcError):
        return "busy" if _code(cause) is grpc.StatusCode.RESOURCE_EXHAUSTED else "gone"
    if isinstance(error, RayTaskError) and not isinstance(cause, RayError):
        if isinstance(cause, EngineUnavailable):  # the replica says that its engine does not run
            return "away"
        return "ours" if isinstance(cause, Exception) and answer_for(cause) is not None else "unknown"
    return "away"


def restarting(service: str) -> ServiceUnavailable:
    """The error of a service whose replica is lost."""
    return ServiceUnavailable(f"{service} is restarting. Please try again in a minute.")


def translated(error: BaseException, service: str) -> Exception:
    """The error a caller may see. What no table of ours knows keeps its words to the log."""
    cause = _cause(error)
    failure = failure_of(error)
    if isinstance(cause, Exception) and isinstance(error, RayTaskError) and answer_for(cause) is not None:
        return cause
    if failure == "unknown":
        _LOG.error("%s failed unexpectedly: %s", service, error)
        return ApiError(f"{service} failed unexpectedly. Please try again, or tell the operator.")
    if failure == "busy":
        return ServiceBusy(f"{service} is busy: its queue is full. Please try again in a few seconds.")
    if failure == "gone" or isinstance(cause, DeploymentUnavailableError | GetTimeoutError):
        return restarting(service)
    _LOG.error("%s cannot be reached: %s", service, error)
    return ServiceUnavailable(f"{service} cannot be reached. Please try again in a minute.")


def _cause(error: BaseException) -> BaseException:
    """What was raised first: an error travels through as many wrappers as there were calls."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        if error.cause is error:
            break
        error = error.cause
    return error


def _code(error: grpc.RpcError) -> object:
    code = getattr(error, "code", None)
    return code() if callable(code) else None
