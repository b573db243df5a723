"""Ray Serve's handles without Ray Serve, and Ray's exceptions.

Tests take Ray's names from here: its modules warn while they are imported, and warnings are errors in tests.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ray import exceptions
    from ray.serve import exceptions as serve_exceptions

__all__ = ["FakeHandle", "FakeMethod", "FakeResponse", "FakeStream", "exceptions", "serve_exceptions"]


class FakeResponse:
    """Ray's response to one call: awaitable; gives a value, raises, or never ends."""

    def __init__(self, outcome: Any) -> None:
        self.cancelled = False
        self.started = asyncio.Event()
        self._over = asyncio.Event()
        self._outcome = outcome

    def __await__(self) -> Any:
        return self._answer().__await__()

    async def _answer(self) -> Any:
        self.started.set()
        if self._outcome is ...:
            await self._over.wait()
            raise serve_exceptions.RequestCancelledError("request")
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        self.cancelled = True
        self._over.set()


class FakeStream:
    """Ray's streaming response: items in order; an exception among them is raised, ``...`` never ends."""

    def __init__(self, items: list[Any]) -> None:
        self.cancelled = False
        self.items = self._all(items)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.items

    def cancel(self) -> None:
        self.cancelled = True

    async def _all(self, items: Any) -> AsyncGenerator[Any, None]:
        for item in items:
            if item is ...:
                await asyncio.Event().wait()
            if isinstance(item, BaseException):
                raise item
            yield item


class FakeMethod:
    def __init__(self, handle: FakeHandle, name: str) -> None:
        self._handle = handle
        self._name = name

    def remote(self, *arguments: Any) -> Any:
        self._handle.calls.append((self._name, *arguments))
        return self._handle.response


class FakeHandle:
    """A deployment's handle whose every call gets ``response``."""

    def __init__(self, response: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.sessions: list[str] = []
        self.response = response

    def options(self, *, method_name: str = "", session_id: str = "", **options: Any) -> Any:
        if method_name:
            assert not options
            self.sessions.append(session_id)
            return FakeMethod(self, method_name)
        assert options in ({"stream": True}, {"_by_reference": True})
        return self

    def __getattr__(self, name: str) -> FakeMethod:
        return FakeMethod(self, name)
