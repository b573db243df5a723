"""Connections of the media fetcher: to checked addresses only, and with no more bytes on the wire than they bring.

httpcore connects through this backend and knows only a host's name. The name is resolved here, once, and the
connection goes to an address of exactly the answer that was checked: a second answer (DNS rebinding) is never asked
for.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any

import httpcore

from serving.addresses import addresses_of_this_machine, is_public_address, plain_address

__all__ = ["PinnedConnections", "Refused", "Resolve", "TooMuchWrapping", "WireAllowance"]

Resolve = Callable[[str, int], list[str]]
"""The addresses of a host, for a connection to a port. Blocks; called in a thread. Raises ``OSError``, or
``UnicodeError`` for what cannot be a name."""

_CONNECT_TRIES = 2
# h11 gives up at 100 KiB of one header, but at no number of interim answers nor of chunks of one byte, and each
# costs the event loop some 20 us. So headers and what is read ahead have an allowance, which each piece of body
# raises, if it is larger than what it costs. Of chunks of 100 bytes there may be any number, of one byte less than
# 2,000.
_FREE_BYTES = 64 << 10
_BYTES_BACK = 1.5
_PIECE_COSTS_BYTES = 32


class Refused(Exception):
    """The name leads to an address that may not be reached. Passes through httpcore unchanged."""


class TooMuchWrapping(Exception):
    """The other server sends headers or chunk lengths without end. Passes through httpcore unchanged."""


class WireAllowance:
    """How many bytes a response may still bring: some for its headers, and somewhat more than its body has."""

    def __init__(self) -> None:
        self._left = float(_FREE_BYTES)

    def arrived(self, count: int) -> None:
        """``count`` bytes of body came out of what was read, in one piece. Raises ``TooMuchWrapping``."""
        self._left += count * _BYTES_BACK - _PIECE_COSTS_BYTES
        self._check()

    def read(self, count: int) -> None:
        """``count`` bytes were read. Raises ``TooMuchWrapping``."""
        self._left -= count
        self._check()

    def next_read(self) -> int:
        """How many bytes to read at once: no long stretch of what may be nothing but wrapping."""
        return 1 + int(self._left / 4)

    def _check(self) -> None:
        if self._left < 0:
            raise TooMuchWrapping


class PinnedConnections(httpcore.AsyncNetworkBackend):
    """Resolves, checks every address, connects to one of exactly those."""

    def __init__(
        self, resolve: Resolve, threads: Executor, allowance: WireAllowance, *, allow_private: bool
    ) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._resolve = resolve
        self._threads = threads
        self._allowance = allowance
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See ``httpcore.AsyncNetworkBackend``. Raises ``Refused``."""
        last: Exception = httpcore.ConnectError("no address")
        for address in (await self._addresses(host, port))[:_CONNECT_TRIES]:
            try:
                stream = await self._inner.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
            else:
                return _CountedStream(stream, self._allowance)
        raise last

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise Refused

    async def sleep(self, seconds: float) -> None:
        """See ``httpcore.AsyncNetworkBackend``."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._checked_addresses, host, port)

    def _checked_addresses(self, host: str, port: int) -> list[str]:
        try:
            addresses = list(dict.fromkeys(self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("name not found") from error
        if self._allow_private:
            return addresses
        # What listens on all addresses of this machine is often meant for itself only, behind a firewall.
        own = addresses_of_this_machine()
        if not all(is_public_address(address) and plain_address(address) not in own for address in addresses):
            raise Refused
        return addresses


class _CountedStream(httpcore.AsyncNetworkStream):
    """A connection whose bytes are counted as HTTP sees them, within TLS."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, allowance: WireAllowance) -> None:
        self._stream = stream
        self._allowance = allowance

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(min(max_bytes, self._allowance.next_read()), timeout)
        self._allowance.read(len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        inside = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _CountedStream(inside, self._allowance)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
