"""The shared cache: Redis or Valkey, which every gateway may lose at any time without losing an answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from circuitbreaker import STATE_HALF_OPEN, CircuitBreaker
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from storage.framing import seal, unseal

__all__ = ["BreakerState", "RedisCache", "RedisStatistics"]

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

BreakerState: TypeAlias = Literal["closed", "half_open", "open"]
"""Closed: Redis is asked. Open: it failed and is left alone. Half open: one caller finds out."""

_PREFIX = "manymodal:1:"  # raise the number when what lies under the keys changes its form
_MAX_CONNECTIONS = 32
_MAX_VALUE_BYTES = 8 << 20  # larger ones would hold everyone else up for longer than the store takes
_FAILURES_TO_OPEN = 3


@dataclass(frozen=True, slots=True)
class RedisStatistics:
    """Counts since the start, and the breaker's state now.

    Hits, misses and corrupt values are keys. Errors are operations that Redis failed, ``timeouts`` those of
    them that waited for the whole timeout. Skipped are operations not tried while the breaker was open,
    oversized are values too large to be sent.
    """

    hits: int
    misses: int
    corrupt: int
    errors: int
    timeouts: int
    skipped: int
    oversized: int
    state: BreakerState


class RedisCache:
    """Sealed values in Redis under ``manymodal:1:<key>``, each with a time to live.

    No method raises (but ``CancelledError``) or takes longer than ``timeout_seconds`` (twice that when it meets
    a damaged value): a Redis that fails or stalls is a cache that has nothing, one that is full keeps what it
    has. After three failures in a row (a refusal is none) it is left alone for ``retry_seconds``, then one
    caller tries again (circuit breaker: M. Nygard, "Release It!", 2007).

    Use from one event loop at a time. The connections end with ``aclose`` or with the loop itself, whichever
    is first. Raises ``ValueError`` for a ``url`` that is not ``redis://``, ``rediss://`` or ``unix://``.
    """

    def __init__(self, url: str, timeout_seconds: float = 0.1, retry_seconds: float = 2.0) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._pool()  # a wrong address is found at the start
        self._breaker = CircuitBreaker(_FAILURES_TO_OPEN, retry_seconds, _is_failure, name="redis")
        self._trying = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: AsyncGenerator[Redis, None] | None = None
        self._client: Redis | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._refusals: set[type[ResponseError]] = set()
        self._hits = 0
        self._misses = 0
        self._corrupt = 0
        self._errors = 0
        self._timeouts = 0
        self._skipped = 0
        self._oversized = 0

    async def get(self, key: str) -> bytes | None:
        """The value under ``key``, or ``None``."""
        return (await self.get_many([key]))[0]

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values under ``keys`` in one round trip, ``None`` for each that is not there.

        A value that fails its checksum is not there and is removed.
        """
        if not keys:
            return []
        names = [_PREFIX + key for key in keys]
        replies = await self._ask(lambda redis: redis.mget(names))
        if replies is None:
            return [None] * len(keys)
        values: list[bytes | None] = []
        corrupt: list[str] = []
        for key, reply in zip(keys, replies, strict=True):
            value = unseal(key, reply) if isinstance(reply, bytes) else None
            values.append(value)
            if value is None and reply is not None:
                corrupt.append(key)
        found = len(values) - values.count(None)
        self._hits += found
        self._misses += len(values) - found
        if corrupt:
            self._corrupt += len(corrupt)
            _LOG.warning("%d values in Redis failed their checksum and are removed.", len(corrupt))
            await self.delete_many(corrupt)
        return values

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Keep ``value`` for ``ttl_seconds`` if Redis takes it."""
        await self.put_many({key: value}, ttl_seconds)

    async def put_many(self, values: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Keep all values for ``ttl_seconds``, in one round trip. Values over 8 MiB are left out."""
        small = {key: value for key, value in values.items() if len(value) <= _MAX_VALUE_BYTES}
        self._oversized += len(values) - len(small)
        if not small:
            return
        ttl_milliseconds = max(1, round(ttl_seconds * 1000))

        async def write(redis: Redis) -> None:
            async with redis.pipeline(transaction=False) as pipeline:
                for key, value in small.items():
                    pipeline.set(_PREFIX + key, seal(key, value), px=ttl_milliseconds)
                await pipeline.execute()

        await self._ask(write)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Forget ``keys``. While Redis is down they stay, until their time to live ends."""
        if keys:
            await self._ask(lambda redis: redis.unlink(*[_PREFIX + key for key in keys]))

    async def run(self, operation: Callable[[Redis, Callable[[str], str]], Awaitable[T]]) -> T | None:
        """What an operation of the caller's own gives, within the same time limit and behind the same breaker.

        ``None`` also when Redis did not answer. It is given the client, and what makes names of keys.
        """
        return await self._ask(lambda redis: operation(redis, _PREFIX.__add__))

    async def aclose(self) -> None:
        """Let operations under way end, and close the connections. Nothing is asked of Redis any more."""
        self._closed = True
        if self._clients is not None and self._loop is asyncio.get_running_loop():
            await asyncio.gather(*self._tasks)
            await self._clients.aclose()
        self._clients = self._client = self._loop = None

    def statistics(self) -> RedisStatistics:
        """A snapshot of the counters."""
        return RedisStatistics(
            hits=self._hits,
            misses=self._misses,
            corrupt=self._corrupt,
            errors=self._errors,
            timeouts=self._timeouts,
            skipped=self._skipped,
            oversized=self._oversized,
            state=self._breaker.state,
        )

    async def _ask(self, operation: Callable[[Redis], Awaitable[T]]) -> T | None:
        """What ``operation`` gives, or ``None`` when Redis was not asked or did not answer in time.

        It runs in a task of its own: a caller that is cancelled neither tears a connection down in the middle
        of a reply nor counts as Redis's success or failure.
        """
        trial = self._breaker.state == STATE_HALF_OPEN
        if self._closed or self._breaker.opened or (trial and self._trying):
            self._skipped += 1
            return None
        self._trying = self._trying or trial
        task = asyncio.create_task(self._answered(operation, trial), name="redis")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _answered(self, operation: Callable[[Redis], Awaitable[T]], trial: bool) -> T | None:
        try:
            with self._breaker:
                async with asyncio.timeout(self._timeout_seconds):
                    reply = await operation(await self._connected())
        except Exception as error:  # whatever it is, the platform answers without this cache
            self._errors += 1
            self._timeouts += isinstance(error, TimeoutError)
            if isinstance(error, ResponseError) and type(error) not in self._refusals:
                self._refusals.add(type(error))  # once each: it may be every operation from now on
                _LOG.warning("Redis refuses an operation: %s", error)
            if self._breaker.failure_count == _FAILURES_TO_OPEN:
                _LOG.warning("Redis is left alone for a while: %s: %s", type(error).__name__, error)
            return None
        finally:
            if trial:
                self._trying = False
        if trial:
            _LOG.warning("Redis answers again.")
        return reply

    async def _connected(self) -> Redis:
        """A client of the running loop."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            # A generator, because event loops close those that are left when they end (shutdown_asyncgens).
            self._loop, self._clients = loop, self._open()
            self._client = await anext(self._clients)
        return self._client

    async def _open(self) -> AsyncGenerator[Redis, None]:
        client = Redis.from_pool(self._pool())
        try:
            yield client
        finally:
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()

    def _pool(self) -> BlockingConnectionPool:
        """Connections without timeouts of their own: ``_answered`` has one for all of it."""
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=_MAX_CONNECTIONS,
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 1),  # the connection may be one that the server has closed meanwhile
            protocol=2,  # one round trip less to connect, and Redis of any age understands it
            driver_info=None,
        )
        pool.connection_class = type("Connection", (_AbortingConnection, pool.connection_class), {})
        return pool


def _is_failure(_: type[BaseException], error: BaseException) -> bool:
    """Whether the circuit breaker should count this: a full Redis refuses writes at once and goes on reading."""
    return isinstance(error, Exception) and not isinstance(error, ResponseError)


class _AbortingConnection(AbstractConnection):
    """Drops what is unsent when it ends in the middle of something.

    Closing waits until all is sent; to a server that has stopped reading that is for ever, and it holds the
    values and the socket.
    """

    async def disconnect(self, nowait: bool = False, *arguments: Any, **named: Any) -> None:
        if nowait and self._writer is not None:
            self._writer.transport.abort()
        await super().disconnect(nowait, *arguments, **named)
