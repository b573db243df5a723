"""The gate behind access: a request needs a place in this gateway, and what its tenant's limits leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import RateLimited, ServiceUnavailable
from serving.fair_queue import FairQueue
from serving.identity import CALLER_KEY, Caller
from serving.limits.headers import CURRENT_HEADERS, RateHeaders
from serving.limits.limiter import TenantLimiter

__all__ = ["LimitGate"]

Refuse = Callable[[Request, Exception], Awaitable[Response]]


class LimitGate:
    """Pure ASGI middleware; refuses before a body is read. ``refuse`` words the refusal.

    At most ``places`` requests are under way, which must be fewer than what the server in front lets in: it would
    refuse in words of its own. A quarter is kept from any one tenant while others are about. Requests without a
    ``Caller`` (health, signed links) take nothing; those of the gateway's own (``internal``) were counted before.
    """

    def __init__(self, app: ASGIApp, limiter: TenantLimiter, places: int, refuse: Refuse) -> None:
        self._app = app
        self._limiter = limiter
        self._places = FairQueue(places, 0, _full, kept_free=places // 4)
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller | None = scope.get(CALLER_KEY)
        if scope["type"] != "http" or caller is None:
            await self._app(scope, receive, send)
            return
        headers = RateHeaders()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers.write(MutableHeaders(scope=message))
            await send(message)

        current = CURRENT_HEADERS.set(headers)
        entered = False
        try:
            if caller.internal:
                await self._app(scope, receive, send_with_headers)
                return
            async with self._places.turn(caller.tenant), self._limiter.admitted(caller.tenant):
                entered = True
                await self._app(scope, receive, send_with_headers)
        except (RateLimited, ServiceUnavailable) as error:
            if entered:
                raise
            await (await self._refuse(Request(scope), error))(scope, receive, send_with_headers)
        finally:
            CURRENT_HEADERS.reset(current)


def _full() -> Exception:
    return ServiceUnavailable(
        "Too many requests are under way on this server. Please try again in a few seconds."
    )
