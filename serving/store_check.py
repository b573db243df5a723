"""Whether the object store answers right now."""

from __future__ import annotations

import asyncio
import logging

from storage.errors import ObjectNotFound, StorageError
from storage.objects import ObjectStore

__all__ = ["StoreCheck"]

_KEY = "probe/ready"  # never written

_log = logging.getLogger("manymodal.gateway")


class StoreCheck:
    """Asks the store one question at a time, however many want to know: a store that hangs holds one thread."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._asking: asyncio.Task[bool] | None = None

    async def ready(self) -> bool:
        """The store's answer, or that of the question under way. Use from one event loop."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="store-check")
        return await asyncio.shield(self._asking)

    async def _ask(self) -> bool:
        try:
            await asyncio.to_thread(self._objects.head, _KEY)
        except ObjectNotFound:
            return True
        except StorageError as error:
            _log.warning("The object store is not ready: %s", error)
            return False
        return True
