"""What the audit log notes of a request: who, which route, which ids, and how it ended."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.audit.log import AuditLog
from serving.identity import CALLER_KEY, Caller

__all__ = ["AuditMiddleware", "shown_ids"]

# Asked all the time by machines; files that are everybody's.
_UNNOTED = frozenset({"/health", "/ready", "/metrics", "/", "/assets/{name:path}"})
_OUR_ID = re.compile(r"(?:file-|doc-|upload_|resp_|batch_|ingest_)[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_NAMED = frozenset({"collection", "tenant", "model"})
_SECRET = frozenset({"token"})  # of a link: whoever has it may download


class AuditMiddleware:
    """Pure ASGI middleware, outermost: notes every request when it has ended, in ``log``.

    Never its body, the URL's path or query, nor names that clients gave to documents and files: of these a keyed
    hash, by which one who knows the name can find it.
    """

    def __init__(self, app: ASGIApp, log: AuditLog, secret: bytes) -> None:
        self._app = app
        self._log = log
        self._secret = hmac.digest(secret, b"manymodal audit names 1", "sha256")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499  # the client was gone before the answer began

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            self._note(scope, status)

    def _note(self, scope: Scope, status: int) -> None:
        route = getattr(scope.get("route"), "path", None)
        if route in _UNNOTED:
            return
        caller: Caller | None = scope.get(CALLER_KEY)
        fields = {
            "request": scope.get("state", {}).get("request_id"),
            "tenant": None if caller is None else caller.tenant,
            "key": None if caller is None else caller.key_id,
            "method": scope["method"] if route else "",
            "route": route or "unmatched",
            "status": status,
            "ids": shown_ids(self._secret, scope.get("path_params", {})),
        }
        if caller is not None and caller.internal:
            fields["internal"] = True
        if caller is None and status >= 400:
            self._log.note_refusal("request", fields)
        else:
            self._log.note("request", fields)


def shown_ids(secret: bytes, parameters: Mapping[str, str]) -> dict[str, str]:
    """A path's parameters as they may stand in the log: our own ids and names of collections as they are."""
    shown = {}
    for name, value in parameters.items():
        if name in _SECRET:
            continue
        if _OUR_ID.fullmatch(value) or (name in _NAMED and _NAME.fullmatch(value)):
            shown[name] = value
        else:
            digest = hmac.digest(secret, value.encode("utf-8", "surrogatepass"), "sha256")
            shown[name] = f"hash:{digest.hex()[:16]}"
    return shown
