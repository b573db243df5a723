"""Deployments that know for which request they work: a class as it is, its calls with the caller's origin.

A call of a deployment brings, besides its arguments, the keyword ``origin`` (``serving.origin.outgoing``). It is
taken off here: the classes behind know nothing of it. What they log then bears the request's id and tenant, and the
call is a span below the caller's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from serving import origin as origins
from serving import tracing
from serving.origin import Carrier

__all__ = ["observed"]

# Asked by Ray Serve itself.
_UNOBSERVED = frozenset({"check_health", "reconfigure", "record_autoscaling_stats", "aclose"})


def observed(
    cls: type, deployment: str, begin: Callable[[], None], built: Callable[[Any], None] | None = None
) -> type:
    """A subclass of ``cls`` for replicas of ``deployment``. ``begin`` is called before anything else in each,
    ``built`` with the finished object.
    """

    initialise = inspect.getattr_static(cls, "__init__")

    def construct(self: Any, *arguments: Any, **named: Any) -> None:
        begin()
        initialise(self, *arguments, **named)
        if built is not None:
            built(self)

    members: dict[str, Any] = {"__init__": functools.wraps(initialise)(construct), "__doc__": cls.__doc__}
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if name.startswith("_") or name in _UNOBSERVED:
            continue
        if inspect.isasyncgenfunction(method):
            members[name] = _stream(method, f"{deployment}.{name}")
        elif inspect.iscoroutinefunction(method):
            members[name] = _call(method, f"{deployment}.{name}")
    return type(f"Observed{cls.__name__}", (cls,), members)


def _call(method: Callable[..., Any], label: str) -> Callable[..., Any]:
    @functools.wraps(method)
    async def answer(self: Any, *arguments: Any, origin: Carrier | None = None, **named: Any) -> Any:
        if origin is None:
            return await method(self, *arguments, **named)
        origins.received(origin)
        if "traceparent" not in origin:
            return await method(self, *arguments, **named)
        with tracing.request_span(label, origin):
            return await method(self, *arguments, **named)

    return answer


def _stream(method: Callable[..., Any], label: str) -> Callable[..., Any]:
    @functools.wraps(method)
    async def answer(
        self: Any, *arguments: Any, origin: Carrier | None = None, **named: Any
    ) -> AsyncGenerator[Any, None]:
        if origin is not None:
            origins.received(origin)
        with tracing.open_span(label, origin):
            async with aclosing(method(self, *arguments, **named)) as items:
                async for item in items:
                    yield item

    return answer
