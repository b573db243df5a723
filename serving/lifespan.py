"""What begins and ends with the gateway's app: room for blocking calls, housekeeping, open connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from serving.gateway import Gateway

__all__ = ["lifespan_of"]

# Calls to the object store block. Python's own pool has 6 threads on two cores, Ray Serve's 5: a store that
# hangs would take them all, and then nothing else gets one. Waiting threads cost memory only.
_THREADS = 64


def lifespan_of(gateway: Gateway) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The app's lifespan over its gateway."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="gateway")
        asyncio.get_running_loop().set_default_executor(threads)
        tasks = (
            asyncio.create_task(gateway.housekeeping.run(), name="housekeeping"),
            asyncio.create_task(gateway.ingest.runner.run(), name="ingest"),
            asyncio.create_task(gateway.limiter.run(), name="limits"),
            asyncio.create_task(gateway.audit.run(), name="audit"),
            asyncio.create_task(gateway.batches.runner.run(), name="batches"),
        )
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await gateway.audit.close()
            await gateway.storage.aclose()

    return lifespan
