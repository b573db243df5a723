"""Asking by way of the official client, so that retries, time limits and errors are its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, Generic, TypeAlias, TypeVar, cast

import anyio
import openai

from serving.client.requests import Ask, Page, Pause, opened

__all__ = [
    "AsyncPages",
    "Pages",
    "Plan",
    "answer",
    "answer_async",
    "carry_out",
    "carry_out_async",
    "events",
    "events_async",
]

T = TypeVar("T")
ItemT = TypeVar("ItemT")

Plan: TypeAlias = Generator[Ask[Any] | Pause, Any, T]
"""Several requests one after the other: yields each, is sent its answer, and returns the result."""


def answer(client: openai.OpenAI, ask: Ask[T]) -> T:
    """Send it and read the answer. Raises as the openai client does."""
    with opened(ask.request.files) as files:
        send = getattr(client, ask.route.method.lower())
        return cast(T, send(ask.address(), **ask.options(files)))


async def answer_async(client: openai.AsyncOpenAI, ask: Ask[T]) -> T:
    """As ``answer``."""
    with opened(ask.request.files) as files:
        send = getattr(client, ask.route.method.lower())
        return cast(T, await send(ask.address(), **ask.options(files)))


def events(client: openai.OpenAI, ask: Ask[T]) -> openai.Stream[T]:
    """Send it and read server-sent events one by one. Use it in a ``with`` statement, or read it to the end."""
    with opened(ask.request.files) as files:
        stream: type[Any] = openai.Stream[ask.answer]  # type: ignore[name-defined] # a type made at run time
        found = client.post(ask.address(), stream=True, stream_cls=stream, **ask.options(files))
        return cast(openai.Stream[T], found)


async def events_async(client: openai.AsyncOpenAI, ask: Ask[T]) -> openai.AsyncStream[T]:
    """As ``events``."""
    with opened(ask.request.files) as files:
        stream: type[Any] = openai.AsyncStream[ask.answer]  # type: ignore[name-defined] # a type made at run time
        found = await client.post(ask.address(), stream=True, stream_cls=stream, **ask.options(files))
        return cast(openai.AsyncStream[T], found)


def carry_out(client: openai.OpenAI, plan: Plan[T]) -> T:
    """Do what a plan yields, until it returns."""
    given: Any = None
    while True:
        try:
            step = plan.send(given)
        except StopIteration as done:
            return cast(T, done.value)
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            given = None
        else:
            given = answer(client, step)


async def carry_out_async(client: openai.AsyncOpenAI, plan: Plan[T]) -> T:
    """As ``carry_out``."""
    given: Any = None
    while True:
        try:
            step = plan.send(given)
        except StopIteration as done:
            return cast(T, done.value)
        if isinstance(step, Pause):
            await anyio.sleep(step.seconds)
            given = None
        else:
            given = await answer_async(client, step)


class Pages(Generic[ItemT]):
    """A list that comes in pages: iterating fetches them one by one. Nothing is asked before."""

    def __init__(self, client: openai.OpenAI, ask: Ask[Page[ItemT]]) -> None:
        self._client = client
        self._ask = ask

    def __iter__(self) -> Iterator[ItemT]:
        for page in self.pages():
            yield from page.items()

    def pages(self) -> Iterator[Page[ItemT]]:
        """The pages themselves."""
        page = answer(self._client, self._ask)
        yield page
        while (more := page.following()) is not None:
            page = answer(self._client, self._ask.also(more))
            yield page


class AsyncPages(Generic[ItemT]):
    """As ``Pages``, for ``async for``."""

    def __init__(self, client: openai.AsyncOpenAI, ask: Ask[Page[ItemT]]) -> None:
        self._client = client
        self._ask = ask

    async def __aiter__(self) -> AsyncIterator[ItemT]:
        async for page in self.pages():
            for item in page.items():
                yield item

    async def pages(self) -> AsyncIterator[Page[ItemT]]:
        """The pages themselves."""
        page = await answer_async(self._client, self._ask)
        yield page
        while (more := page.following()) is not None:
            page = await answer_async(self._client, self._ask.also(more))
            yield page
