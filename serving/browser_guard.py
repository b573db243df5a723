"""Keeps web pages away from a server that their reader's browser can reach.

Two ways lead there: a name of the attacker's that is rebound to a loopback address (told by ``Host``), and
forms and scripts that send requests whose answers they cannot read (told by ``Sec-Fetch-Site`` and
``Origin``). Programs send neither of the latter two.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import ApiError, CrossOriginRefused, HostRefused

__all__ = ["BrowserGuard"]

Refuse = Callable[[Request, Exception], Awaitable[Response]]

_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(?::[0-9]{1,5})?")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class BrowserGuard:
    """Pure ASGI middleware: answers only to this machine's names and ``allowed_hosts`` (no port), and lets no
    page of another origin change anything. ``refuse`` words the refusal.

    Where keys are needed (``keys_needed``) a page with a rebound name learns nothing. Then all addresses are
    answered to, and every name if none is listed.
    """

    def __init__(
        self, app: ASGIApp, allowed_hosts: Collection[str], refuse: Refuse, keys_needed: bool = False
    ) -> None:
        self._app = app
        self._allowed = frozenset(name.lower() for name in allowed_hosts)
        self._refuse = refuse
        self._keys_needed = keys_needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (error := self._objection(scope["method"], Headers(scope=scope))):
            await (await self._refuse(Request(scope), error))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _objection(self, method: str, headers: Headers) -> ApiError | None:
        hosts = [host.lower() for host in headers.getlist("host")]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return HostRefused(
                "The 'Host' header names another host than this server. Use its address, such as 127.0.0.1, "
                "or have the name added to allowed_hosts."
            )
        if method in _READING:
            return None
        foreign = any(
            not self._is_own_origin(origin.lower(), hosts[0]) for origin in headers.getlist("origin")
        )
        if foreign or headers.get("sec-fetch-site", "").lower() == "cross-site":
            return CrossOriginRefused("Web pages of another origin may not use this server.")
        return None

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        if name is None:
            return False
        if name in self._allowed or _is_loopback(name):
            return True
        return self._keys_needed and (not self._allowed or _is_address(name))

    def _is_own_origin(self, origin: str, host: str) -> bool:
        scheme, _, authority = origin.partition("://")
        if scheme not in ("http", "https"):
            return False
        return authority == host or _name(authority) in self._allowed


def _name(host: str) -> str | None:
    """The name or address in ``host``, without port and brackets."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]") if found else None


def _is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
