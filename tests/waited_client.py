"""The asynchronous client behind the synchronous one's methods, so that one test serves both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import openai

from serving.client.calls import AsyncResource, Method
from serving.client.sending import AsyncPages

__all__ = ["WaitedClient"]


class WaitedClient:
    """Everything of ``target``; what is awaited there is waited for here, on an event loop of its own."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._target = target
        self._loop = loop or asyncio.new_event_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._target.close())
        self._loop.close()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return WaitedClient(value, self._loop) if isinstance(value, AsyncResource | Method) else value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._here(self._target(*args, **kwargs))

    def with_options(self, **options: Any) -> WaitedClient:
        return WaitedClient(self._target.with_options(**options), self._loop)

    def finish(self, awaitable: Any) -> Any:
        """The result of what the openai client itself is asked for."""
        return self._loop.run_until_complete(awaitable)

    def _here(self, result: Any) -> Any:
        if isinstance(result, AsyncPages):
            return WaitedPages(result, self._loop)
        found = self._loop.run_until_complete(result)
        return WaitedPages(found, self._loop) if isinstance(found, openai.AsyncStream) else found


class WaitedPages:
    """An asynchronous iteration, waited for item by item."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __iter__(self) -> Iterator[Any]:
        return self._waited(aiter(self._target))

    def pages(self) -> Iterator[Any]:
        return self._waited(self._target.pages())

    def _waited(self, items: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._loop.run_until_complete(anext(items))
            except StopAsyncIteration:
                return
