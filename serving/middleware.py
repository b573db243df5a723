"""Pure ASGI middleware: request id, timing, metrics, the log's line, and the cap on request bodies.

Starlette's ``BaseHTTPMiddleware`` is not used: it re-wraps the body stream and hides client disconnects.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextlib import AbstractContextManager, nullcontext

from opentelemetry.trace import Span, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import origin, tracing
from serving.config import RequestLimits
from serving.degradation import HEADER as DEGRADED
from serving.error_handlers import error_parts
from serving.errors import BodyTooLarge
from serving.metrics import GatewayMetrics
from serving.protocol.errors import error_bytes
from serving.request_log import log_request

__all__ = ["BodyLimitMiddleware", "RequestMiddleware"]

_log = logging.getLogger("manymodal.gateway")
_CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MULTIPART_OVERHEAD_BYTES = 1 << 20
_UNTRACED = frozenset({"/health", "/ready", "/metrics"})  # asked all the time by machines


class RequestMiddleware:
    """Gives every request an id (``x-request-id``), a time (``openai-processing-ms``) and a line in the
    metrics and in the log.

    Routes find the id in ``request.state.request_id`` and say what was brought (``serving.origin.brings``). With
    tracing on the request is a span, below the one that its ``traceparent`` names.
    """

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _CLIENT_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        asked = origin.begin(request_id)
        state["started"] = started = asked.started
        self._metrics.in_progress.inc()
        status = 499
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                begun = True
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(int((time.perf_counter() - started) * 1000))
                headers["x-content-type-options"] = "nosniff"
                for part in filter(None, headers.get(DEGRADED, "").split(", ")):
                    self._metrics.degraded.labels(part).inc()
            await send(message)

        with _request_span(scope, request_id) as span:
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception as error:
                # The last resort: the trace goes to the log under the request's id, not to the client. An answer
                # that has begun cannot be changed any more; the server then breaks the connection off.
                _log.error("%s unexpected %s", request_id, type(error).__name__, exc_info=error)
                self._metrics.count_error("internal_error")
                if begun:
                    raise
                answer, message, param, code = error_parts(error)
                body = error_bytes(message, answer.type, param, code)
                await Response(body, answer.status, media_type="application/json")(
                    scope, receive, send_with_headers
                )
            finally:
                seconds = time.perf_counter() - started
                endpoint = _endpoint(scope)
                self._metrics.in_progress.dec()
                self._metrics.requests.labels(endpoint, asked.modality, str(status)).inc()
                self._metrics.duration.labels(endpoint).observe(seconds)
                log_request(request_id, scope["method"], scope["path"], status, seconds)
                if span is not None:
                    _describe(span, scope["method"], endpoint, asked, status)


def _endpoint(scope: Scope) -> str:
    """The route's template, never the path itself: paths carry ids and would make endless label values."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


def _request_span(scope: Scope, request_id: str) -> AbstractContextManager[Span | None]:
    if scope["path"] in _UNTRACED:
        return nullcontext()
    parent = tracing.carrier_of(scope["headers"])
    return tracing.request_span(scope["method"], parent, **{"manymodal.request_id": request_id})


def _describe(span: Span, method: str, endpoint: str, asked: origin.Origin, status: int) -> None:
    """What there is to say of a request, in OpenTelemetry's words where it has some."""
    span.update_name(f"{method} {endpoint}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": endpoint,
            "http.response.status_code": status,
            "manymodal.modality": asked.modality,
        }
    )
    if asked.tenant is not None:
        span.set_attribute("manymodal.tenant", asked.tenant)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


class BodyLimitMiddleware:
    """Refuses request bodies over the limit: by ``content-length`` at once, and while streaming.

    Forms may bring a file or a part of an upload where these are taken, elsewhere one medium; texts to embed that
    come line by line are never in memory as a whole; all other bodies may be as large as ``max_body_bytes``.
    """

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit, name = self._limits.max_body_bytes, "max_body_bytes"
        content_type = headers.get("content-type", "").lower()
        if content_type.startswith("multipart/form-data"):
            limit, name = self._form_limit(scope["path"])
        elif content_type.startswith("application/x-ndjson") and scope["path"] == "/v1/embeddings":
            limit, name = self._limits.max_upload_bytes, "max_upload_bytes"
        error = BodyTooLarge(f"The request body is larger than {limit} bytes ({name}).")
        declared = headers.get("content-length", "")
        too_large = declared.isdigit() and int(declared) > limit
        received = 0

        async def receive_capped() -> Message:
            # Raised inside the route's own read, so that the app's error handler words the answer.
            nonlocal received
            if too_large:
                raise error
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise error
            return message

        await self._app(scope, receive_capped, send)

    def _form_limit(self, path: str) -> tuple[int, str]:
        name, limit = "max_media_bytes", self._limits.max_media_bytes
        if path == "/v1/files":
            name, limit = "max_file_bytes", self._limits.max_file_bytes
        elif path.startswith("/v1/uploads/"):
            name, limit = "max_part_bytes", self._limits.max_part_bytes
        return limit + _MULTIPART_OVERHEAD_BYTES, name
