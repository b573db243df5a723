"""Methods that are described once and are there in both clients.

A class of calls (``MediaCalls``) has functions that only say what to ask. A decorator makes each a descriptor: in a
``SyncResource`` it is a method that answers, in an ``AsyncResource`` one to be awaited, with the same parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

import openai

from serving.client.requests import Ask, Page, Request, Route
from serving.client.sending import (
    AsyncPages,
    Pages,
    Plan,
    answer,
    answer_async,
    carry_out,
    carry_out_async,
    events,
    events_async,
)

__all__ = ["AsyncResource", "Call", "SyncResource", "call", "listed", "paged", "planned", "streamed"]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
RawT = TypeVar("RawT")
EachT = TypeVar("EachT")
ItemT = TypeVar("ItemT")


class SyncResource:
    """Calls that answer."""

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client


class AsyncResource:
    """Calls to be awaited."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client


class Method(Generic[P, R]):
    """What a descriptor gives on an instance: a function with the signature and docstring of its description."""

    def __init__(self, does: Callable[P, R], described: Callable[..., Any]) -> None:
        self.__doc__, self.__name__ = described.__doc__, described.__name__
        self._does = does
        self._described = described

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._does(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self._described)
        # All but self; what comes back is not what the description returns.
        return signature.replace(
            parameters=list(signature.parameters.values())[1:], return_annotation=inspect.Signature.empty
        )


class Answered(Method[P, R], Generic[P, R, RawT]):
    """``raw`` takes the same and gives the whole HTTP response: its headers, and the answer by ``parse()``."""

    raw: Method[P, RawT]


class Paged(Answered[P, R, RawT], Generic[P, R, RawT, EachT]):
    """``each`` takes the same and goes through all pages."""

    each: Method[P, EachT]


class Described(Generic[P]):
    """A route, and the function that says what to ask of it."""

    def __init__(
        self, function: Callable[Concatenate[Any, P], Request], read_as: type[Any], route: str
    ) -> None:
        update_wrapper(cast(Any, self), function)
        self.route = Route.of(route)
        self.read_as = read_as
        self._function = function

    def _asking(self, *args: P.args, **kwargs: P.kwargs) -> Ask[Any]:
        return Ask(self.route, self._function(None, *args, **kwargs), self.read_as)

    def _bound(
        self, kind: Any, sends: Callable[[Any, Ask[Any]], Any], client: Any, read_as: Any = None
    ) -> Any:
        def does(*args: Any, **kwargs: Any) -> Any:
            ask = self._asking(*args, **kwargs)
            return sends(client, ask if read_as is None else Ask(ask.route, ask.request, read_as))

        return kind(does, self._function)


class Call(Described[P], Generic[P, T]):
    """One request, one answer."""

    @overload
    def __get__(self, instance: None, owner: type[object]) -> Self: ...
    @overload
    def __get__(
        self, instance: SyncResource, owner: type[object]
    ) -> Answered[P, T, openai.APIResponse[T]]: ...
    @overload
    def __get__(
        self, instance: AsyncResource, owner: type[object]
    ) -> Answered[P, Coroutine[Any, Any, T], Coroutine[Any, Any, openai.AsyncAPIResponse[T]]]: ...
    def __get__(self, instance: Any, owner: type[object]) -> Any:
        return self if instance is None else self._answered(Answered, instance)

    def ask(self, *args: P.args, **kwargs: P.kwargs) -> Ask[T]:
        """What the call would ask: a step of a plan."""
        return self._asking(*args, **kwargs)

    def _answered(self, kind: Any, instance: Any) -> Any:
        is_sync = isinstance(instance, SyncResource)
        sends = answer if is_sync else answer_async
        response: Any = openai.APIResponse if is_sync else openai.AsyncAPIResponse
        method = self._bound(kind, sends, instance._client)
        method.raw = self._bound(Method, sends, instance._client, response[self.read_as])
        return method


class PagedCall(Call[P, T], Generic[P, T, ItemT]):
    """One request, one page; the next ones if wanted."""

    @overload
    def __get__(self, instance: None, owner: type[object]) -> Self: ...
    @overload
    def __get__(
        self, instance: SyncResource, owner: type[object]
    ) -> Paged[P, T, openai.APIResponse[T], Pages[ItemT]]: ...
    @overload
    def __get__(
        self, instance: AsyncResource, owner: type[object]
    ) -> Paged[
        P,
        Coroutine[Any, Any, T],
        Coroutine[Any, Any, openai.AsyncAPIResponse[T]],
        AsyncPages[ItemT],
    ]: ...
    def __get__(self, instance: Any, owner: type[object]) -> Any:
        if instance is None:
            return self
        method = self._answered(Paged, instance)
        pages = Pages if isinstance(instance, SyncResource) else AsyncPages
        method.each = self._bound(Method, pages, instance._client)
        return method


class ListCall(Described[P], Generic[P, ItemT]):
    """A list that comes in pages."""

    @overload
    def __get__(self, instance: None, owner: type[object]) -> Self: ...
    @overload
    def __get__(self, instance: SyncResource, owner: type[object]) -> Method[P, Pages[ItemT]]: ...
    @overload
    def __get__(self, instance: AsyncResource, owner: type[object]) -> Method[P, AsyncPages[ItemT]]: ...
    def __get__(self, instance: Any, owner: type[object]) -> Any:
        if instance is None:
            return self
        pages = Pages if isinstance(instance, SyncResource) else AsyncPages
        return self._bound(Method, pages, instance._client)


class StreamCall(Described[P], Generic[P, T]):
    """One request that is answered in events."""

    @overload
    def __get__(self, instance: None, owner: type[object]) -> Self: ...
    @overload
    def __get__(self, instance: SyncResource, owner: type[object]) -> Method[P, openai.Stream[T]]: ...
    @overload
    def __get__(
        self, instance: AsyncResource, owner: type[object]
    ) -> Method[P, Coroutine[Any, Any, openai.AsyncStream[T]]]: ...
    def __get__(self, instance: Any, owner: type[object]) -> Any:
        if instance is None:
            return self
        sends: Any = events if isinstance(instance, SyncResource) else events_async
        return self._bound(Method, sends, instance._client)


class PlannedCall(Generic[P, T]):
    """Several requests, one result."""

    def __init__(self, function: Callable[Concatenate[Any, P], Plan[T]]) -> None:
        update_wrapper(cast(Any, self), function)
        self._function = function

    @overload
    def __get__(self, instance: None, owner: type[object]) -> Self: ...
    @overload
    def __get__(self, instance: SyncResource, owner: type[object]) -> Method[P, T]: ...
    @overload
    def __get__(self, instance: AsyncResource, owner: type[object]) -> Method[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Any, owner: type[object]) -> Any:
        if instance is None:
            return self
        carries: Any = carry_out if isinstance(instance, SyncResource) else carry_out_async

        def does(*args: Any, **kwargs: Any) -> Any:
            return carries(instance._client, self._function(None, *args, **kwargs))

        return Method(does, self._function)


Describes = Callable[Concatenate[Any, P], Request]


def call(read_as: type[T], route: str) -> Callable[[Describes[P]], Call[P, T]]:
    """A method that asks ``route`` (``GET /media/{media_id}``) and answers with a ``read_as``."""
    return lambda function: Call(function, read_as, route)


def paged(
    read_as: type[T], item: type[ItemT], route: str
) -> Callable[[Describes[P]], PagedCall[P, T, ItemT]]:
    """As ``call``, for a page of ``item`` (a ``Page``) after which others may come."""
    return lambda function: PagedCall(function, read_as, route)


def listed(read_as: type[Page[ItemT]], route: str) -> Callable[[Describes[P]], ListCall[P, ItemT]]:
    """A method that gives all items of all pages."""
    return lambda function: ListCall(function, read_as, route)


def streamed(read_as: type[T], route: str) -> Callable[[Describes[P]], StreamCall[P, T]]:
    """A method whose answer is a stream of ``read_as``."""
    return lambda function: StreamCall(function, read_as, route)


def planned(function: Callable[Concatenate[Any, P], Plan[T]]) -> PlannedCall[P, T]:
    """A method that asks several times."""
    return PlannedCall(function)
