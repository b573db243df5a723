"""Keeping a lease up while its work goes on, and noticing that the work must end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from serving.ingest.leases import Lease, Leases, Work
from storage.errors import StorageError

__all__ = ["LeaseLost", "keep_up"]

_LOOK_SECONDS = 1.0  # between looks for a wish that came by another gateway


class LeaseLost(Exception):
    """Another gateway has the work, or may have it: the store did not answer for as long as a lease lasts."""


async def keep_up(
    leases: Leases[Work],
    lease: Lease[Work],
    noticing: asyncio.Event,
    check: Callable[[], Awaitable[None]],
) -> None:
    """Renew a lease until this is cancelled, and call ``check`` now and again, at once when ``noticing`` is set.

    Raises ``LeaseLost``, and what ``check`` raises; of the store's troubles only those that outlast the lease.
    """
    loop = asyncio.get_running_loop()
    renewed = loop.time()
    while True:
        try:
            async with asyncio.timeout(min(_LOOK_SECONDS, leases.seconds / 3)):
                await noticing.wait()
        except TimeoutError:
            pass
        noticing.clear()
        try:
            await check()
            if loop.time() - renewed >= leases.seconds / 3:
                if not await asyncio.to_thread(leases.renew, lease):
                    raise LeaseLost
                renewed = loop.time()
        except StorageError:
            if loop.time() - renewed > leases.seconds:
                raise LeaseLost from None
