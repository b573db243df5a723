"""A model that is loaded when it is first asked, for tasks that many platforms never use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from encoders.batching.encoder import BatchEncoder

__all__ = ["LoadedOnUse"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class LoadedOnUse(Generic[Item, Result]):
    """A ``BatchEncoder`` whose model comes from ``load`` at the first call, in the calling thread; once.

    What ``load`` raises ends that call, and the next one tries again.
    """

    def __init__(self, load: Callable[[], BatchEncoder[Item, Any, Result]]) -> None:
        self._load = load
        self._loading = threading.Lock()
        self._model: BatchEncoder[Item, Any, Result] | None = None

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

    def prepare(self, items: Sequence[Item]) -> list[Any]:
        """See ``BatchEncoder``. The first call loads the model; others wait for it."""
        return self._loaded().prepare(items)

    def bucket(self, prepared: Any) -> Hashable:
        """See ``BatchEncoder``."""
        return self._loaded().bucket(prepared)

    def cost(self, prepared: Any) -> int:
        """See ``BatchEncoder``."""
        return self._loaded().cost(prepared)

    def run(self, batch: Sequence[Any]) -> list[Result]:
        """See ``BatchEncoder``."""
        return self._loaded().run(batch)

    def _loaded(self) -> BatchEncoder[Item, Any, Result]:
        if self._model is None:
            with self._loading:
                if self._model is None:
                    self._model = self._load()
        return self._model
