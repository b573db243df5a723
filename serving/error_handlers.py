"""Every failure of the app as an OpenAI-shaped answer, and nothing of it that a stranger should not see."""

from __future__ import annotations

import logging
from typing import cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serving.errors import ERROR_TABLE, ApiError, ErrorAnswer, RateLimited, answer_for
from serving.metrics import GatewayMetrics
from serving.protocol.errors import error_bytes, parameter_path, validation_message

__all__ = ["ErrorHandlers", "error_event", "error_parts"]

_log = logging.getLogger("manymodal.gateway")

_UNEXPECTED = ErrorAnswer(500, "server_error", "internal_error")
_HTTP_WORDS = {
    404: ("Unknown request URL: nothing is served under this path.", "unknown_url"),
    405: ("This path does not support this method.", "method_not_allowed"),
}


def error_parts(error: Exception) -> tuple[ErrorAnswer, str, str | None, str | None]:
    """An error's table entry, message, param and code, as shown to the client."""
    answer = answer_for(error)
    if answer is None:
        return _UNEXPECTED, "The server had an error while processing your request.", None, _UNEXPECTED.code
    if isinstance(error, ApiError):
        return answer, error.message, error.param, error.code or answer.code
    return answer, str(error), None, answer.code


def error_event(error: Exception) -> bytes:
    """A failure in the middle of a stream as a server-sent event."""
    answer, message, param, code = error_parts(error)
    return b"data: " + error_bytes(message, answer.type, param, code) + b"\n\n"


class ErrorHandlers:
    """The app's exception handlers; counts and logs what they answer."""

    def __init__(self, metrics: GatewayMetrics) -> None:
        self._metrics = metrics

    def install(self, app: FastAPI) -> None:
        """Register handlers for every class of the table, validation and routing.

        What else may be raised is answered by ``RequestMiddleware``: Starlette calls a handler for
        ``Exception`` outside of all middleware, where the answer would get no request id.
        """
        for cls in ERROR_TABLE:
            app.add_exception_handler(cls, self.typed)
        app.add_exception_handler(RequestValidationError, self.validation)
        app.add_exception_handler(HTTPException, self.http)

    async def typed(self, request: Request, error: Exception) -> Response:
        """An error of the platform, answered by the table."""
        answer, message, param, code = error_parts(error)
        if answer.status >= 500:
            _log.error("%s %s: %s", _request_id(request), type(error).__name__, message, exc_info=error)
        retry = error.retry_after_seconds if isinstance(error, RateLimited) else answer.retry_after_seconds
        response = self._respond(answer.status, message, answer.type, param, code, retry)
        never_fits = isinstance(error, RateLimited) and retry is None
        if answer.is_final or never_fits:
            response.headers["x-should-retry"] = "false"
        if answer.status in (408, 413):
            # What is left of the body is not waited for.
            response.headers["connection"] = "close"
        return response

    async def validation(self, request: Request, error: Exception) -> Response:
        """A parameter that FastAPI itself refused; 400 as OpenAI answers, not 422."""
        problem = cast(RequestValidationError, error).errors()[0]
        path = parameter_path(problem["loc"][1:])
        message, code = validation_message(problem, path)
        return self._respond(400, message, "invalid_request_error", path, code)

    async def http(self, request: Request, error: Exception) -> Response:
        """A routing failure or a body that Starlette could not read."""
        failure = cast(HTTPException, error)
        message, code = _HTTP_WORDS.get(failure.status_code, (str(failure.detail), "invalid_request"))
        response = self._respond(failure.status_code, message, "invalid_request_error", None, code)
        for name, value in (failure.headers or {}).items():
            response.headers[name] = value
        return response

    def _respond(
        self,
        status: int,
        message: str,
        type_: str,
        param: str | None,
        code: str | None,
        retry_after_seconds: int | None = None,
    ) -> Response:
        self._metrics.count_error(code or type_)
        headers = {} if retry_after_seconds is None else {"retry-after": str(retry_after_seconds)}
        return Response(error_bytes(message, type_, param, code), status, headers, "application/json")


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", "-"))
