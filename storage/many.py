"""Writing many new objects at once, where the store has a quicker way for that."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from storage.objects import Body, ObjectStore

__all__ = ["TakesMany", "put_all_if_absent"]

_THREADS = 8


@runtime_checkable
class TakesMany(Protocol):
    """A store that makes many objects durable together for less than one by one."""

    def put_all_if_absent(self, objects: Sequence[tuple[str, Body]]) -> list[bool]:
        """``ObjectStore.put_if_absent`` of each. When it raises, any of them may have been written."""
        ...


def put_all_if_absent(store: ObjectStore, objects: Sequence[tuple[str, Body]]) -> list[bool]:
    """``put_if_absent`` of each object, all durable in the end. Raises ``StoreUnavailable``; any of them may have
    been written then.
    """
    if isinstance(store, TakesMany):
        return store.put_all_if_absent(objects)
    if len(objects) < 2:
        return [store.put_if_absent(key, data) for key, data in objects]
    with ThreadPoolExecutor(min(_THREADS, len(objects)), thread_name_prefix="put-all") as pool:
        return list(pool.map(lambda one: store.put_if_absent(*one), objects))
