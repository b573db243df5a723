"""Models that take turns in memory: who is loaded, who makes room, and that nobody is taken away while asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from encoders.batching.shelf import Shelf
from encoders.errors import ModelUnavailable

SIZES = {"a": 2, "b": 2, "c": 2, "large": 5}


class FakeModel:
    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


class Loader:
    """Loads at once, or as the test lets it; notes the order, and fails for those that are ``broken``."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.broken: set[str] = set()
        self.may = threading.Event()
        self.may.set()

    def __call__(self, name: str) -> FakeModel:
        self.loads.append(name)
        assert self.may.wait(30)
        if name in self.broken:
            raise ModelUnavailable(f"The model '{name}' does not load.")
        return FakeModel(name)


@pytest.fixture
def load() -> Loader:
    return Loader()


@pytest.fixture
async def shelf(load: Loader) -> AsyncIterator[Shelf[FakeModel]]:
    made = Shelf(SIZES, 5, load)
    yield made
    load.may.set()
    await made.aclose()


async def until(condition: Callable[[], bool]) -> None:
    """Return once it holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a thread changes it
            await asyncio.sleep(0.001)


async def ask(shelf: Shelf[FakeModel], name: str) -> FakeModel:
    async with shelf.using(name) as model:
        assert not model.closed
        return model


async def test_whoever_was_asked_for_longest_ago_makes_room(shelf: Shelf[FakeModel], load: Loader) -> None:
    first = {name: await ask(shelf, name) for name in ("a", "b")}
    assert await ask(shelf, "a") is first["a"]
    await ask(shelf, "c")
    assert (first["a"].closed, first["b"].closed) == (False, True)
    assert shelf.loaded == ("a", "c")
    assert {model.name for model in shelf.present} == {"a", "c"}
    assert (await ask(shelf, "b")).name == "b"
    assert first["a"].closed
    assert load.loads == ["a", "b", "c", "b"]


async def test_as_many_make_room_as_must(shelf: Shelf[FakeModel]) -> None:
    small = [await ask(shelf, name) for name in ("a", "b")]
    await ask(shelf, "large")
    assert all(model.closed for model in small)
    assert shelf.loaded == ("large",)


async def test_many_who_ask_first_load_it_once(shelf: Shelf[FakeModel], load: Loader) -> None:
    models = await asyncio.gather(*(ask(shelf, "a") for _ in range(20)))
    assert len(set(map(id, models))) == 1
    assert load.loads == ["a"]


async def test_nobody_is_taken_away_from_who_asks_and_who_comes_later_waits_for_its_return(
    shelf: Shelf[FakeModel], load: Loader
) -> None:
    async with shelf.using("large") as large:
        wants_a = asyncio.create_task(ask(shelf, "a"))
        await until(lambda: "large" not in shelf.loaded)  # it is on its way out
        wants_large = asyncio.create_task(ask(shelf, "large"))
        await asyncio.wait({wants_a, wants_large}, timeout=0.05)
        assert not large.closed
        assert load.loads == ["large"]
    assert (await wants_a).name == "a"
    assert large.closed
    assert await wants_large is not large
    assert load.loads == ["large", "a", "large"]


async def test_who_leaves_while_it_is_loaded_leaves_others_waiting(
    shelf: Shelf[FakeModel], load: Loader
) -> None:
    load.may.clear()
    leaving, staying = (asyncio.create_task(ask(shelf, "a")) for _ in range(2))
    await until(lambda: bool(load.loads))
    leaving.cancel()
    await asyncio.wait({leaving})
    load.may.set()
    assert (await staying).name == "a"
    await ask(shelf, "large")  # it makes room: nobody counts as asking
    assert load.loads == ["a", "large"]


async def test_one_that_does_not_load_takes_no_room_and_is_tried_again(
    shelf: Shelf[FakeModel], load: Loader
) -> None:
    kept = await ask(shelf, "a")
    load.broken = {"b"}
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="does not load"):
            await ask(shelf, "b")
    load.broken = set()
    await ask(shelf, "b")
    assert not kept.closed
    assert load.loads == ["a", *"bbbb"]


async def test_names_are_those_that_were_given(shelf: Shelf[FakeModel]) -> None:
    with pytest.raises(ModelUnavailable, match="not served"):
        await ask(shelf, "another")
    with pytest.raises(ValueError, match="'large'"):
        Shelf(SIZES, 4, FakeModel)


async def test_at_the_end_all_are_let_go_and_nobody_is_loaded_any_more(
    shelf: Shelf[FakeModel], load: Loader
) -> None:
    model = await ask(shelf, "a")
    load.may.clear()
    asking = asyncio.create_task(ask(shelf, "b"))
    await until(lambda: load.loads == ["a", "b"])
    load.may.set()
    await shelf.aclose()
    assert model.closed
    with pytest.raises((ModelUnavailable, asyncio.CancelledError)):
        await asking
    with pytest.raises(ModelUnavailable):
        await ask(shelf, "a")


async def test_at_the_end_one_that_makes_room_is_let_go_although_it_is_asked(
    shelf: Shelf[FakeModel], load: Loader
) -> None:
    async with shelf.using("a") as model:
        asking = asyncio.create_task(ask(shelf, "large"))
        await until(lambda: shelf.loaded == ("large",))
        await shelf.aclose()
        assert model.closed
    with pytest.raises((ModelUnavailable, asyncio.CancelledError)):
        await asking
    assert load.loads == ["a"]
