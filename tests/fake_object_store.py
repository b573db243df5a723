"""An object store that runs a hook around every call: to look at interleavings, and to die anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from storage.objects import Body, ObjectStore
from storage.types import ObjectInfo, TierPolicy

__all__ = ["Crash", "FakeStoreWithHooks", "Hook", "at_every_step", "at_step"]

T = TypeVar("T")
Hook = Callable[[str, str, str], None]
"""Gets "before" or "after", the method's name and the key or prefix; what it raises reaches the caller."""


class Crash(BaseException):
    """The process dies here: nothing after this runs, least of all error handling."""


class FakeStoreWithHooks:
    """A real store with ``hook`` around its methods. After a ``Crash`` it does nothing any more: the dead take
    nothing back.
    """

    def __init__(self, store: ObjectStore, hook: Hook | None = None) -> None:
        self.store = store
        self.hook: Hook = hook or (lambda when, name, key: None)
        self.is_dead = False

    def _around(
        self, name: str, key: str, call: Callable[[], T], undo: Callable[[T], None] | None = None
    ) -> T:
        if self.is_dead:
            raise Crash
        try:
            self.hook("before", name, key)
            result = call()
            try:
                self.hook("after", name, key)
            except BaseException:
                if undo is not None:
                    undo(result)
                raise
        except Crash:
            self.is_dead = True
            raise
        return result

    def probe(self) -> None:
        self.store.probe()

    def get(self, key: str) -> bytes:
        return self._around("get", key, lambda: self.store.get(key))

    def open(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> BinaryIO:
        return self._around(
            "open",
            key,
            lambda: self.store.open(key, offset_bytes, length_bytes),
            lambda stream: stream.close(),
        )

    def put(self, key: str, data: Body) -> None:
        self._around("put", key, lambda: self.store.put(key, data))

    def put_if_absent(self, key: str, data: Body) -> bool:
        return self._around("put_if_absent", key, lambda: self.store.put_if_absent(key, data))

    def copy_if_absent(self, source: str, target: str) -> bool:
        return self._around("copy_if_absent", target, lambda: self.store.copy_if_absent(source, target))

    def head(self, key: str) -> ObjectInfo:
        return self._around("head", key, lambda: self.store.head(key))

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectInfo]:
        return self._around("list", prefix, lambda: iter(list(self.store.list(prefix, after))))

    def delete(self, key: str) -> bool:
        return self._around("delete", key, lambda: self.store.delete(key))

    def download_url(self, key: str, expires_seconds: int, content_type: str, filename: str) -> str | None:
        return self.store.download_url(key, expires_seconds, content_type, filename)

    def apply_tiers(self, policy: TierPolicy) -> None:
        self.store.apply_tiers(policy)


def at_step(step: int, action: Callable[[], Any]) -> tuple[Hook, Callable[[], int]]:
    """A hook that runs ``action`` once, at the ``step``-th time a hook runs (from 0), and how many ran so far."""
    seen = 0

    def hook(when: str, name: str, key: str) -> None:
        nonlocal seen
        seen += 1
        if seen == step + 1:
            action()

    return hook, lambda: seen


def at_every_step(attempt: Callable[[int], bool]) -> int:
    """Call ``attempt`` with 0, 1, 2, ... until it answers that there is no such step; how many there were."""
    for step in itertools.count():
        if not attempt(step):
            return step
    raise AssertionError
