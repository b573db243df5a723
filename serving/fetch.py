"""The safe fetcher for media URLs (design, section 5).

A host name is resolved once; if any of its addresses is not globally reachable, or is one of this machine's own,
the URL is refused, else the connection goes to an address of exactly that answer (``serving.pinned_connections``).
``Host`` and TLS server name stay those of the URL. Redirects are followed by hand and each target passes the same
checks. Proxy variables are never read: httpcore does not know them. Error texts never show addresses, nor what
the other server said.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urljoin

import httpcore
import httpx

from serving.config import RequestLimits
from serving.errors import LimitExceeded, MediaFetchFailed, MediaServerUnavailable
from serving.pinned_connections import PinnedConnections, Refused, Resolve, TooMuchWrapping, WireAllowance

__all__ = ["FetchedMedia", "MediaFetcher"]

_ALLOWED_PORTS = frozenset({80, 443, 8000, 8080, 8443})
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_PASSING_STATUSES = frozenset({408, 425, 429})
_MAX_URL_CHARACTERS = 4096
# More than are fetched at once: one that waits for a name server that does not answer is held until the system
# gives up, which may be later than the request did.
_RESOLVER_THREADS = 32


@dataclass(slots=True)
class FetchedMedia:
    """A response being read: the last URL's file name and the body, capped while it streams."""

    filename: str | None
    body: AsyncIterator[bytes] = field(repr=False)


class MediaFetcher:
    """Fetches http(s) media within ``RequestLimits``. One per gateway; holds no connections between calls."""

    def __init__(
        self,
        limits: RequestLimits,
        *,
        hosts: Collection[str] | None = None,
        allow_private_urls: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        """``hosts`` are the only ones fetched from: names, or ``*.example.org`` for all below one; ``None``: any.
        ``resolve`` takes the place of the system's resolver.
        """
        self._limits = limits
        self._resolve = resolve or _system_addresses
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._allow_private = allow_private_urls
        self._tls: ssl.SSLContext | None = None
        # Not the loop's own threads, as ``loop.getaddrinfo`` takes: a name server that does not answer holds
        # a thread for many seconds, and everything else that blocks waits for those.
        self._resolver = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="media-dns")

    @asynccontextmanager
    async def open(self, url: str, param: str | None = None) -> AsyncIterator[FetchedMedia]:
        """Connect, follow redirects and hand out the body as a stream; the body must be read inside the
        block.

        Raises ``MediaFetchFailed`` (refused, unreachable, error status, too slow; ``MediaServerUnavailable`` when
        it may pass) and ``LimitExceeded``
        (``max_media_bytes``, ``max_redirects``). ``fetch_timeout_seconds`` covers the whole block.
        """
        limit = self._limits.fetch_timeout_seconds
        try:
            async with asyncio.timeout(limit) as deadline:
                async with self._follow(url, param) as fetched:
                    yield fetched
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise MediaServerUnavailable(
                f"The media URL did not deliver within {limit:g} seconds (fetch_timeout_seconds). Upload the "
                "file with POST /v1/media and use its id.",
                param,
            ) from error
        except Refused as error:
            raise MediaFetchFailed(
                "The media URL leads to an address that is not on the public internet; it was not fetched.",
                param,
            ) from error
        except TooMuchWrapping as error:
            raise MediaFetchFailed(
                "The media URL's server sent much besides the media themselves; it was not fetched.", param
            ) from error
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            ssl.SSLError,
        ) as error:
            raise MediaServerUnavailable(
                "The media URL could not be fetched: its server was not reachable or broke off.", param
            ) from error

    def _pool(self, allowance: WireAllowance) -> httpcore.AsyncConnectionPool:
        if self._tls is None:
            # Loading the CA bundle costs about 20 ms, so it is done once, at the first fetch.
            self._tls = httpx.create_ssl_context(trust_env=False)
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=PinnedConnections(
                self._resolve, self._resolver, allowance, allow_private=self._allow_private
            ),
        )

    @asynccontextmanager
    async def _follow(self, url: str, param: str | None) -> AsyncIterator[FetchedMedia]:
        for _ in range(self._limits.max_redirects + 1):
            target = self._checked(url, param)
            allowance = WireAllowance()
            async with self._pool(allowance) as pool, self._asked(pool, target) as response:
                if response.status in _REDIRECT_STATUSES:
                    url = self._redirect_target(response, str(target), param)
                    continue
                if response.status != 200:
                    trouble = response.status in _PASSING_STATUSES or response.status >= 500
                    raise (MediaServerUnavailable if trouble else MediaFetchFailed)(
                        f"The media URL's server answered with status {response.status} instead of 200.",
                        param,
                    )
                yield FetchedMedia(_filename(target), self._capped(response, allowance, param))
                return
        raise LimitExceeded(
            f"The media URL redirected more than {self._limits.max_redirects} times (max_redirects).", param
        )

    def _asked(
        self, pool: httpcore.AsyncConnectionPool, target: httpx.URL
    ) -> AbstractAsyncContextManager[httpcore.Response]:
        return pool.stream(
            "GET",
            httpcore.URL(
                scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
            ),
            headers={
                "Host": target.netloc.decode("ascii"),
                "User-Agent": "manymodal",
                "Accept": "image/*, audio/*, video/*, */*;q=0.1",
                # Undecoded bytes only: a compressed bomb is never unpacked here.
                "Accept-Encoding": "identity",
            },
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), 10.0)},
        )

    def _checked(self, url: str, param: str | None) -> httpx.URL:
        if len(url) > _MAX_URL_CHARACTERS:
            raise LimitExceeded(f"The media URL is longer than {_MAX_URL_CHARACTERS} characters.", param)
        try:
            target = httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise MediaFetchFailed("The media URL is not a valid URL.", param) from error
        if target.scheme not in ("http", "https") or not target.raw_host:
            raise MediaFetchFailed("A media URL must begin with http:// or https:// and name a host.", param)
        if target.userinfo:
            raise MediaFetchFailed("A media URL must not carry a user name or password.", param)
        if self._hosts is not None and not _is_among(target, self._hosts):
            raise MediaFetchFailed(
                "This platform fetches no media from that host (media_hosts). Upload the file with POST /v1/media "
                "and use its id.",
                param,
            )
        port = {"http": 80, "https": 443}[target.scheme] if target.port is None else target.port
        if not self._allow_private and port not in _ALLOWED_PORTS:
            raise MediaFetchFailed(f"Media URLs on port {port} are not fetched.", param)
        return target

    def _redirect_target(self, response: httpcore.Response, current: str, param: str | None) -> str:
        for name, value in response.headers:
            if name.lower() == b"location":
                try:
                    return urljoin(current, value.decode("latin-1"))
                except ValueError as error:
                    raise MediaFetchFailed(
                        "The media URL's server redirected to no valid URL.", param
                    ) from error
        raise MediaFetchFailed("The media URL's server redirected without saying where to.", param)

    async def _capped(
        self, response: httpcore.Response, allowance: WireAllowance, param: str | None
    ) -> AsyncIterator[bytes]:
        limit = self._limits.max_media_bytes
        declared = next((value for name, value in response.headers if name.lower() == b"content-length"), b"")
        received = 0
        if not (declared.isdigit() and int(declared) > limit):
            async for chunk in response.aiter_stream():
                received += len(chunk)
                allowance.arrived(len(chunk))
                if received > limit:
                    break
                yield chunk
            else:
                return
        raise LimitExceeded(
            f"The media behind the URL is larger than {limit} bytes (max_media_bytes).", param
        )


def _system_addresses(host: str, port: int) -> list[str]:
    """As the machine resolves names: its hosts file, its name servers."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _is_among(url: httpx.URL, hosts: frozenset[str]) -> bool:
    """Whether its host is one of ``hosts``, or below one that begins with ``*.``."""
    name = url.raw_host.decode("ascii").lower().removesuffix(".")
    above = name.split(".")[1:]
    return name in hosts or any("*." + ".".join(above[start:]) in hosts for start in range(len(above)))


def _filename(url: httpx.URL) -> str | None:
    """The last piece of the path as a display name; never used as a path."""
    return unquote(url.path.rsplit("/", 1)[-1])[:255] or None
