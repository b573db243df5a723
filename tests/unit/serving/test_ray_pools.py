"""What Ray Serve's controller says of the deployments, as the gateway shows it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from fake_ray import FakeHandle, FakeResponse, exceptions
from prometheus_client import CollectorRegistry, generate_latest

from serving.pool_calls import PoolBook
from serving.pool_metrics import PoolMetrics
from serving.ray_adapter.caller import Caller
from serving.ray_adapter.pools import RayPools


def word(value: str) -> SimpleNamespace:
    return SimpleNamespace(value=value)


def details(status: str, target: int, *states: str) -> SimpleNamespace:
    """Of Ray Serve's ``DeploymentDetails``, what is read."""
    replicas = [SimpleNamespace(state=word(state)) for state in states]
    return SimpleNamespace(status=word(status), target_num_replicas=target, replicas=replicas)


class Controller:
    def __init__(self, **found: Any) -> None:
        self.found = found
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self) -> Any:
        self.asked += 1
        self.answers.wait()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def pools(controller: Controller, may_sleep: frozenset[str] = frozenset(), **ready: Any) -> RayPools:
    book = PoolBook()
    callers = {
        name: Caller(FakeHandle(FakeResponse(outcome)), name, 30, book.of(name, name))
        for name, outcome in ready.items()
    }
    return RayPools(book, callers, controller, may_sleep)


@pytest.fixture
def clock(monkeypatch):
    """The time for pools, which stands still unless a test moves it."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("serving.ray_adapter.pools.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def test_states_are_told_in_our_words_and_asked_for_once_a_second(clock):
    controller = Controller(
        engine=details("UPSCALING", 3, "RUNNING", "RUNNING", "STARTING"),
        gateway=details("HEALTHY", 1, "RUNNING"),
        ocr=details("DEPLOY_FAILED", 1),
    )
    seen = pools(controller, engine=True, ocr=True, search=True)
    for _ in range(2):
        engine, gateway, ocr, search = await seen.status()
    assert controller.asked == 1
    assert (engine.health, engine.replicas) == ("scaling", {"running": 2, "starting": 1})
    assert engine.target_replicas == 3
    assert (gateway.health, gateway.calls) == ("healthy", None)
    assert (ocr.health, ocr.replicas) == ("unhealthy", {})
    assert (search.health, search.target_replicas) == ("unknown", None)  # the controller does not know it
    assert search.calls is not None
    clock.now += 1.1
    await seen.status()
    assert controller.asked == 2


async def test_a_controller_that_is_away_is_no_error(caplog):
    controller = Controller()
    controller.found = exceptions.ActorDiedError()
    (engine,) = await pools(controller, engine=True).status()
    assert (engine.health, engine.replicas) == ("unknown", {})
    assert "does not say" in caplog.text


@pytest.mark.usefixtures("clock")
async def test_a_controller_that_hangs_holds_one_thread(monkeypatch):
    monkeypatch.setattr("serving.ray_adapter.pools._TIMEOUT_SECONDS", 0.01)
    controller = Controller(engine=details("HEALTHY", 1, "RUNNING"))
    controller.answers.clear()
    seen = pools(controller, engine=True)
    try:
        for _ in range(3):
            (engine,) = await seen.status()
            assert engine.health == "unknown"
        assert controller.asked == 1
    finally:
        controller.answers.set()
    monkeypatch.setattr("serving.ray_adapter.pools._TIMEOUT_SECONDS", 30.0)
    assert seen._asking is not None
    await seen._asking
    (engine,) = await seen.status()
    assert (engine.health, controller.asked) == ("healthy", 1)


@pytest.mark.parametrize(
    ("found", "ready"),
    [
        (details("HEALTHY", 0), True),
        (details("UNHEALTHY", 0), False),
        (details("HEALTHY", 1, "RUNNING"), True),  # being asked would keep it awake
        (None, False),  # the controller knows nothing: it is asked itself
    ],
)
async def test_one_that_sleeps_is_not_woken_to_be_asked(found, ready):
    controller = Controller(**({} if found is None else {"audio": found}))
    seen = pools(controller, frozenset({"audio"}), audio=False)
    assert await seen.ready("audio") is ready


async def test_the_others_are_asked_themselves():
    controller = Controller()
    seen = pools(controller, engine=True, ocr=False)
    assert seen.names == ("engine", "ocr")
    assert await seen.ready("engine")
    assert not await seen.ready("ocr")
    assert controller.asked == 0


async def test_metrics():
    seen = pools(Controller(), ocr=7)
    await seen._callers["ocr"].call("read")
    registry = CollectorRegistry()
    registry.register(PoolMetrics(seen))
    text = generate_latest(registry).decode()
    assert 'manymodal_pool_calls_total{deployment="ocr",outcome="answered"} 1.0' in text
    assert 'manymodal_pool_breaker{deployment="ocr",state="closed"} 1.0' in text
    assert 'manymodal_pool_ongoing_calls{deployment="ocr"} 0.0' in text
