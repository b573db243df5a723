"""The log: one JSON object a line on stderr, and one line for every request.

A request's line says who asked for what and how it ended; never a prompt, a medium, a query string or the token of
a download link. Every line that is written while working for a request bears its id and tenant, in whichever
process, and the id of its trace where there is one.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, TextIO

from serving import origin, tracing

__all__ = ["configure", "log_request"]

_LOGGERS = ("manymodal", "encoders", "fusion", "search", "serving", "storage")
_MAX_PATH_CHARACTERS = 200
_LINKS = "/v1/links/"  # what follows lets whoever reads it download a file

_log = logging.getLogger("manymodal.requests")


def configure(level: str, deployment: str | None = None, stream: TextIO | None = None) -> None:
    """Write the platform's own records from ``level`` (``INFO``, ``WARNING``...) up to stderr, each with the name
    of the deployment that this process is a replica of. ``stream`` is where to, if not to ``sys.stderr``.

    Called once by every process that serves; nothing is written of requests before. Other libraries' loggers
    stay as they are. Raises ``ValueError`` for an unknown level.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines(deployment))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [handler]
        logger.propagate = False  # Ray's handler of the root would write everything once more


def log_request(request_id: str, method: str, path: str, status: int, seconds: float) -> None:
    """Write the line of a request that has ended. ``path`` is without its query."""
    if _log.isEnabledFor(logging.INFO):
        fields = {
            "request_id": request_id,
            "method": method,
            "path": _LINKS if path.startswith(_LINKS) else path[:_MAX_PATH_CHARACTERS],
            "status": status,
            "ms": round(seconds * 1000, 1),
        }
        _log.info("request", extra={"fields": fields})


class _JsonLines(logging.Formatter):
    def __init__(self, deployment: str | None) -> None:
        super().__init__()
        self._always = {} if deployment is None else {"deployment": deployment}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            **self._always,
            "message": record.getMessage(),
            **_whose(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _whose() -> dict[str, str]:
    request = origin.current()
    if request is None:
        return {}
    found = {"request_id": request.request_id, "tenant": request.tenant, "trace_id": tracing.trace_id()}
    return {name: value for name, value in found.items() if value is not None}
