"""What one tenant may use within a minute and at once. Tenants without limits cost a look-up in memory."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from serving.concurrency import to_the_end
from serving.errors import RateLimited
from serving.limits.headers import CURRENT_HEADERS
from serving.limits.windows import Counts, Places, Standing, Taken, Window
from serving.tenant_settings import TenantDirectory

__all__ = ["TenantLimiter", "TokenReservation", "tokens_guessed"]

_LEASE_SECONDS = 60.0  # a gateway that dies lets go of its requests' places after this
_CHARACTERS_PER_TOKEN = 4
_NO_LIMIT = 1 << 52  # as much as Redis's scripts count exactly
_RENEWED = 3  # times a lease

_settling: set[asyncio.Task[None]] = set()  # the event loop keeps only weak references to tasks

Decoded = Literal["pixels", "media_seconds"]
_WORDS = {
    "requests": ("requests", "requests_per_minute"),
    "tokens": ("tokens", "tokens_per_minute"),
    "pixels": ("pixels of pictures and video frames to decode", "pixels_per_minute"),
    "media_seconds": ("seconds of sound and video to decode", "media_seconds_per_minute"),
}


class TokenReservation:
    """Tokens taken on a guess, to be corrected when the true number is known."""

    def __init__(self, counts: Counts, taken: Taken, key: str, reserved: int) -> None:
        self._counts = counts
        self._taken = taken
        self._key = key
        self._reserved = reserved
        self._used = reserved
        self._settling: asyncio.Task[None] | None = None

    def settle(self, tokens: int) -> None:
        """``tokens`` were used in truth. Again corrects again. Nobody waits for it."""
        self._used = tokens
        if self._used != self._reserved and (self._settling is None or self._settling.done()):
            self._settling = asyncio.create_task(self._settle(), name="settle-tokens")
            _settling.add(self._settling)
            self._settling.add_done_callback(_settling.discard)

    async def _settle(self) -> None:
        while self._used != self._reserved:
            difference, self._reserved = self._used - self._reserved, self._used
            await self._counts.change(self._taken, self._key, difference)


class TenantLimiter:
    """Holds tenants to ``TenantLimits``. One per gateway; ``run`` keeps what its requests hold."""

    def __init__(self, tenants: TenantDirectory, counts: Counts) -> None:
        self._tenants = tenants
        self._counts = counts
        self._held: dict[str, Places] = {}

    @asynccontextmanager
    async def admitted(self, tenant: str) -> AsyncIterator[None]:
        """Count a request, which is under way within the block. Raises ``RateLimited``."""
        limits = (await self._tenants.settings(tenant)).limits
        wanted: list[Window | Places] = []
        if limits.requests_per_minute is not None:
            wanted.append(Window(_key(tenant, "requests"), limits.requests_per_minute, 1))
        if limits.concurrent_requests is not None:
            holder = uuid.uuid4().hex
            wanted.append(Places(_key(tenant, "places"), limits.concurrent_requests, holder, _LEASE_SECONDS))
        if not wanted:
            yield
            return
        places = wanted[-1] if isinstance(wanted[-1], Places) else None
        try:
            # To the end: a place that was taken while nobody waited for it would stay taken.
            taken = await to_the_end(self._take(wanted, places))
            for one, standing in zip(wanted, taken.standings, strict=True):
                if isinstance(one, Window):
                    _show("requests", one.limit, standing)
            for one, standing in zip(wanted, taken.standings, strict=True):
                if not standing.fits:
                    raise _too_much("requests", one, standing) if isinstance(one, Window) else _busy(one)
            yield
        finally:
            if places is not None and self._held.pop(places.holder, None) is not None:
                await to_the_end(self._counts.release(places.key, places.holder))

    async def reserve_tokens(self, tenant: str, tokens: int) -> TokenReservation | None:
        """Take tokens before they are used; ``None`` where nothing limits them. Raises ``RateLimited``."""
        limit = (await self._tenants.settings(tenant)).limits.tokens_per_minute
        if limit is None:
            return None
        taken = await self._window("tokens", tenant, limit, tokens)
        return TokenReservation(self._counts, taken, _key(tenant, "tokens"), tokens)

    async def limits_tokens(self, tenant: str) -> bool:
        """Whether tokens need to be counted."""
        return (await self._tenants.settings(tenant)).limits.tokens_per_minute is not None

    async def limits_decoding(self, tenant: str) -> bool:
        """Whether pixels or seconds need to be counted."""
        limits = (await self._tenants.settings(tenant)).limits
        return limits.pixels_per_minute is not None or limits.media_seconds_per_minute is not None

    async def decode(self, tenant: str, pixels: int = 0, media_seconds: float = 0.0) -> None:
        """Take what is about to be decoded. Raises ``RateLimited``."""
        limits = (await self._tenants.settings(tenant)).limits
        wanted: list[Window] = []
        names: list[Decoded] = []
        if limits.pixels_per_minute is not None and pixels:
            wanted.append(Window(_key(tenant, "pixels"), limits.pixels_per_minute, pixels))
            names.append("pixels")
        if limits.media_seconds_per_minute is not None and media_seconds > 0:
            whole = math.ceil(media_seconds)
            wanted.append(Window(_key(tenant, "media_seconds"), limits.media_seconds_per_minute, whole))
            names.append("media_seconds")
        if not wanted:
            return
        taken = await self._counts.take(wanted)
        for name, one, standing in zip(names, wanted, taken.standings, strict=True):
            if not standing.fits:
                raise _too_much(name, one, standing)

    async def decoded(self, tenant: str, pixels: int) -> None:
        """Count pixels that were decoded, also beyond the limit."""
        limit = (await self._tenants.settings(tenant)).limits.pixels_per_minute
        if limit is not None:
            await self._counts.take([Window(_key(tenant, "pixels"), _NO_LIMIT, pixels)])

    async def run(self) -> None:
        """Renew what requests under way hold, until cancelled."""
        while True:
            await asyncio.sleep(_LEASE_SECONDS / _RENEWED)
            await self._counts.renew(list(self._held.values()))

    async def _take(self, wanted: list[Window | Places], places: Places | None) -> Taken:
        taken = await self._counts.take(wanted)
        if places is not None and taken.fits:
            self._held[places.holder] = places
        return taken

    async def _window(self, name: str, tenant: str, limit: int, cost: int) -> Taken:
        window = Window(_key(tenant, name), limit, cost)
        taken = await self._counts.take([window])
        _show(name, limit, taken.standings[0])
        if not taken.fits:
            raise _too_much(name, window, taken.standings[0])
        return taken


def tokens_guessed(characters: int) -> int:
    """How many tokens a text has, at a guess that is corrected afterwards."""
    return characters // _CHARACTERS_PER_TOKEN + 1


def _key(tenant: str, name: str) -> str:
    return f"{{{tenant}}}:{name}"  # in braces: all of a tenant lies on one machine of a Redis cluster


def _show(name: str, limit: int, standing: Standing) -> None:
    headers = CURRENT_HEADERS.get()
    if headers is None:
        return
    if name == "requests":
        headers.requests = (limit, standing)
    else:
        headers.tokens = (limit, standing)


def _too_much(name: str, window: Window, standing: Standing) -> RateLimited:
    words, setting = _WORDS[name]
    if math.isinf(standing.wait_seconds):
        return RateLimited(
            f"The request is too large: it needs {window.cost} {words}, and the limit is {window.limit} per minute "
            f"({setting})."
        )
    wait = max(1, math.ceil(standing.wait_seconds))
    return RateLimited(
        f"Rate limit reached for {words} ({setting}): limit {window.limit} per minute, used {standing.used}, "
        f"requested {window.cost}. Please try again in {wait} seconds.",
        wait,
    )


def _busy(places: Places) -> RateLimited:
    return RateLimited(
        f"Rate limit reached for requests at once (concurrent_requests): limit {places.limit}. Please try again "
        "when one of them has ended.",
        1,
    )
