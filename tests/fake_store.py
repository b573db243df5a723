"""An object store that notes what it is asked, and fails when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from storage.errors import StoreUnavailable
from storage.objects import ObjectStore

__all__ = ["FakeTroubledStore"]


class FakeTroubledStore:
    """``storage.objects.ObjectStore`` over a real one.

    ``calls`` are the operations so far with their keys. ``fails`` (told operation and key) makes one raise
    ``StoreUnavailable``; nothing has happened in the store then.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.calls: list[tuple[str, str]] = []
        self.fails: Callable[[str, str], bool] = lambda operation, key: False

    def __getattr__(self, operation: str) -> Any:
        work = getattr(self._store, operation)

        def noted(*arguments: Any, **options: Any) -> Any:
            key = str(arguments[0]) if arguments else ""
            self.calls.append((operation, key))
            if self.fails(operation, key):
                raise StoreUnavailable("The object store does not answer. Try again later.")
            return work(*arguments, **options)

        return noted
