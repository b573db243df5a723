"""Models that take turns in memory: loaded when they are asked for, as many as there is room for."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

from encoders.errors import ModelUnavailable

__all__ = ["Shelf"]

_LOG = logging.getLogger(__name__)


class _Closing(Protocol):
    async def aclose(self) -> None:
        """Stop and let go of everything."""


Model = TypeVar("Model", bound=_Closing)


class _Place(Generic[Model]):
    """One model's: it is being loaded, or loaded, or on its way out; ``users`` are asking it."""

    def __init__(self, name: str, loading: asyncio.Task[Model]) -> None:
        self.name = name
        self.loading = loading
        self.users = 0
        self.unused = asyncio.Event()
        self.unused.set()


class Shelf(Generic[Model]):
    """Named models within ``room_bytes``, of which ``sizes_bytes`` says how much each takes.

    Whoever has not been asked for longest makes room, once it has answered those that ask it now: whoever asks it
    after that has it loaded again. Models are loaded one after another by ``load``, in a thread. Use from one event
    loop.
    """

    def __init__(self, sizes_bytes: Mapping[str, int], room_bytes: int, load: Callable[[str], Model]) -> None:
        """Raises ``ValueError`` for a model that has no room even alone."""
        for name, size in sizes_bytes.items():
            if size > room_bytes:
                raise ValueError(
                    f"The model '{name}' takes {size >> 20} MiB, and there is room for {room_bytes >> 20}."
                )
        self._sizes_bytes = dict(sizes_bytes)
        self._room_bytes = room_bytes
        self._load = load
        self._places: OrderedDict[str, _Place[Model]] = (
            OrderedDict()
        )  # first whoever was asked for longest ago
        self._used_bytes = 0
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def loaded(self) -> tuple[str, ...]:
        """Which models are in memory, or on their way in; last the one that was asked for last."""
        return tuple(self._places)

    @property
    def present(self) -> tuple[Model, ...]:
        """Those that are in memory."""
        ended = (place.loading for place in self._places.values() if place.loading.done())
        return tuple(task.result() for task in ended if not task.cancelled() and task.exception() is None)

    @asynccontextmanager
    async def using(self, name: str) -> AsyncGenerator[Model, None]:
        """The model, which stays until the context ends. Raises ``ModelUnavailable`` for one that is not among
        these, and what ``load`` raises; then the next who asks tries again.
        """
        if name not in self._sizes_bytes or self._closed:
            raise ModelUnavailable(f"The model '{name}' is not served here.")
        place = self._places.get(name)
        if place is None:
            # A task of its own: whoever asks first may leave, and others wait for it by then.
            place = self._places[name] = _Place(name, asyncio.create_task(self._loaded(name)))
            place.loading.add_done_callback(_seen)
        self._places.move_to_end(name)
        place.users += 1
        place.unused.clear()
        try:
            yield await asyncio.shield(place.loading)
        finally:
            place.users -= 1
            if not place.users:
                place.unused.set()

    async def aclose(self) -> None:
        """Let go of all, whoever asks them."""
        self._closed = True
        places = list(self._places.values())
        self._places.clear()
        for place in places:
            if not place.loading.done():
                place.loading.cancel()
        for ended in await asyncio.gather(*(place.loading for place in places), return_exceptions=True):
            if not isinstance(ended, BaseException):
                await ended.aclose()

    async def _loaded(self, name: str) -> Model:
        size = self._sizes_bytes[name]
        try:
            async with self._turn:
                while self._used_bytes + size > self._room_bytes:
                    await self._make_room()
                self._used_bytes += size
                try:
                    model = await asyncio.to_thread(self._load, name)
                except BaseException:
                    self._used_bytes -= size
                    raise
        except BaseException:
            self._places.pop(name, None)
            raise
        _LOG.info("The model '%s' is loaded.", name)
        return model

    async def _make_room(self) -> None:
        """Take away whoever was asked for longest ago, of those that are loaded."""
        name, place = next((name, place) for name, place in self._places.items() if place.loading.done())
        del self._places[name]
        try:
            await place.unused.wait()
        finally:  # at the end of all it is not waited for whoever asks it
            self._used_bytes -= self._sizes_bytes[name]
            await place.loading.result().aclose()
        _LOG.info("The model '%s' makes room.", name)


def _seen(loading: asyncio.Task[object]) -> None:
    """Nobody may be left who waits for it: its failure is told to those who are."""
    if not loading.cancelled():
        loading.exception()
