"""The gate before all routes: who asks, and whether that key is good for the route, before a body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from serving import origin
from serving.access.access import Access
from serving.access.route_scopes import Needed, needed_for
from serving.errors import AuthenticationFailed, PermissionDenied, ServiceUnavailable
from serving.identity import CALLER_KEY, Caller
from storage.errors import StorageError

__all__ = ["AccessGate"]

Refuse = Callable[[Request, Exception], Awaitable[Response]]


class AccessGate:
    """Pure ASGI middleware: lets in whom ``access`` knows and whose key has the scope of the route, and leaves the
    ``Caller`` in the scope. ``refuse`` words the refusal.

    A caller that is there already was set by the gateway itself. Paths that nothing is served under need a key too.
    """

    def __init__(self, app: ASGIApp, access: Access, refuse: Refuse) -> None:
        self._app = app
        self._access = access
        self._refuse = refuse

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        needed = _needed(scope)
        if needed != "nothing":
            try:
                caller = scope.get(CALLER_KEY)
                if caller is None:
                    caller = await self._access.caller(Headers(scope=scope).getlist("authorization"))
                    scope[CALLER_KEY] = caller
                origin.named(caller.tenant)
                _check(caller, needed)
            except (AuthenticationFailed, PermissionDenied, ServiceUnavailable, StorageError) as error:
                answer = await self._refuse(Request(scope), error)
                if isinstance(error, AuthenticationFailed):
                    answer.headers["www-authenticate"] = 'Bearer realm="manymodal"'
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _needed(scope: AsgiScope) -> Needed:
    """What the route needs that the router will choose: the routes are asked as the router asks them."""
    for route in scope["app"].routes:
        if route.matches(scope)[0] is Match.FULL:
            scope["route"] = route  # for metrics and the audit log, also when nobody is let in
            return needed_for(scope["method"], route.path)
    return "any"


def _check(caller: Caller, needed: Needed) -> None:
    if needed != "any" and needed not in caller.scopes:
        raise PermissionDenied(f"This API key has no permission for this: it lacks the scope '{needed}'.")
