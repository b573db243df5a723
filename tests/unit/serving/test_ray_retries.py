"""Calls over Ray's handles when replicas are lost: what is asked again, what opens the breaker, what is counted."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc
import pytest
from fake_ray import FakeResponse, FakeStream, exceptions, serve_exceptions
from tenacity import wait_none

from encoders.errors import CorruptMedia
from serving.breaker import BreakerConfig
from serving.config import RequestLimits
from serving.engine_call import call_engine
from serving.errors import (
    ApiError,
    CircuitOpen,
    EngineStalled,
    EngineUnavailable,
    ServiceBusy,
    ServiceUnavailable,
)
from serving.patience import patience
from serving.pool_calls import PoolCalls
from serving.ray_adapter import RayChatEngine, RaySearchIndex
from serving.ray_adapter.caller import Caller
from serving.services import EngineResponse

HEAD = EngineResponse(200, ())


class Status(grpc.RpcError):
    """What gRPC raises for a status of a call."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__("secret address")
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


LOST = [
    exceptions.ActorDiedError(),
    exceptions.ActorUnavailableError("secret", b"0" * 16),
    exceptions.NodeDiedError("secret"),
    exceptions.WorkerCrashedError(),
    exceptions.ObjectLostError("0" * 56, "", ""),
    exceptions.TaskCancelledError(),
    Status(grpc.StatusCode.INTERNAL),
    Status(grpc.StatusCode.CANCELLED),
    exceptions.RayTaskError("m", "trace", exceptions.ActorDiedError()),  # an argument's replica
]


class Script:
    """A handle whose calls get one response after the other."""

    def __init__(self, *responses: Any) -> None:
        self.left = list(responses)

    def options(self, **_: Any) -> Script:
        return self

    def __getattr__(self, name: str) -> Script:
        return self

    def remote(self, *_: Any, **__: Any) -> Any:
        return self.left.pop(0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("serving.ray_adapter.caller._WAIT", wait_none())


def caller(*outcomes: Any, seconds: float = 30, **more: Any) -> tuple[Caller, Script]:
    script = Script(*[FakeResponse(outcome) for outcome in outcomes])
    calls = PoolCalls("ocr", "The reader", BreakerConfig(failures=2))
    return Caller(script, "The reader", seconds, calls, **more), script


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
async def test_a_lost_replica_is_asked_again_elsewhere(error):
    service, script = caller(error, error, 7)
    assert await service.call("read") == 7
    assert script.left == []
    found = service.calls.statistics()
    assert (found.retried, found.outcomes["answered"], found.breaker) == (2, 1, "closed")


async def test_three_times_at_most():
    service, script = caller(*[exceptions.ActorDiedError()] * 4)
    with pytest.raises(ServiceUnavailable, match="restarting"):
        await service.call("read")
    assert len(script.left) == 1
    assert service.calls.statistics().outcomes["failed"] == 1


async def test_what_cannot_be_done_twice_is_not():
    script = Script(FakeResponse(exceptions.ActorDiedError()), FakeResponse(True))
    with pytest.raises(ServiceUnavailable):
        await RaySearchIndex(script, 30).drop("t", "c")
    assert len(script.left) == 1


@pytest.mark.parametrize(
    ("error", "seen", "outcome"),
    [
        (serve_exceptions.BackPressureError(5, 4), ServiceBusy, "refused"),
        (Status(grpc.StatusCode.RESOURCE_EXHAUSTED), ServiceBusy, "refused"),
        (serve_exceptions.DeploymentUnavailableError("secret"), ServiceUnavailable, "failed"),
        (exceptions.GetTimeoutError("secret"), ServiceUnavailable, "failed"),
        (exceptions.RaySystemError("secret"), ServiceUnavailable, "failed"),
        (exceptions.RayTaskError("m", "t", CorruptMedia("Damaged.")), CorruptMedia, "answered"),
        (exceptions.RayTaskError("m", "t", ValueError("secret")), ApiError, "answered"),
        (exceptions.RayTaskError("m", "t", EngineUnavailable("Gone.")), EngineUnavailable, "failed"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:20],
)
async def test_other_failures_are_no_reason_to_ask_again(error, seen, outcome):
    service, script = caller(error, 7)
    with pytest.raises(seen) as caught:
        await service.call("read")
    assert type(caught.value) is seen
    assert "secret" not in str(caught.value)
    assert len(script.left) == 1
    assert service.calls.statistics().outcomes[outcome] == 1


async def test_a_service_that_fails_is_left_alone_and_answers_at_once():
    service, script = caller(*[exceptions.RaySystemError("x")] * 2, 7)
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            await service.call("read")
    with pytest.raises(CircuitOpen):
        await service.call("read")
    assert len(script.left) == 1
    assert service.calls.statistics().outcomes["refused_open"] == 1


async def test_clients_media_and_full_queues_open_nothing():
    bad = exceptions.RayTaskError("m", "t", CorruptMedia("Damaged."))
    busy = serve_exceptions.BackPressureError(5, 4)
    service, _ = caller(bad, busy, exceptions.RayTaskError("m", "t", ValueError()), bad, busy)
    for _ in range(5):
        with pytest.raises(Exception, match=r"Damaged|busy|unexpectedly"):
            await service.call("read")
    assert service.calls.breaker.state == "closed"


async def test_silence_opens_it():
    service, _ = caller(..., ..., seconds=0.01)
    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match="did not answer"):
            await service.call("read")
    assert service.calls.breaker.state == "open"


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [(patience, "failed"), (asyncio.timeout, "left"), (partial(patience, telling=False), "left")],
    ids=["ours", "the caller's", "ours of what may take long"],
)
async def test_a_time_limit_of_the_platforms_above_the_call_tells_of_silence(limit, outcome):
    service, _ = caller(...)
    with pytest.raises(TimeoutError):
        async with limit(0.01):
            await service.call("read")
    assert service.calls.statistics().outcomes[outcome] == 1
    silent = Caller(Script(FakeStream([...])), "The reader", 30)
    with pytest.raises(TimeoutError):
        async with limit(0.01):
            await anext(silent.stream("speak"))
    assert silent.calls.statistics().outcomes[outcome] == 1


@pytest.mark.parametrize(("limit_seconds", "outcome"), [(0.01, "failed"), (0.001, "left")])
async def test_an_engine_that_begins_no_stream_in_time_fails(limit_seconds, outcome):
    chat = RayChatEngine(Script(FakeStream([...])), 30)
    limits = RequestLimits(first_token_timeout_seconds=limit_seconds)
    with pytest.raises(EngineStalled):
        await call_engine(chat, "/v1/x", {}, b"", limits=limits, first_byte_timeout_seconds=0.01)
    assert chat.caller.calls.statistics().outcomes[outcome] == 1


async def test_a_caller_who_leaves_while_it_is_asked_again_ends_it(monkeypatch):
    waits = asyncio.Event()

    def wait(_: Any) -> float:
        waits.set()
        return 60.0

    monkeypatch.setattr("serving.ray_adapter.caller._WAIT", wait)
    service, script = caller(exceptions.ActorDiedError(), 7)
    calling = asyncio.create_task(service.call("read"))
    await waits.wait()
    calling.cancel()
    await asyncio.wait({calling})
    assert calling.cancelled()
    assert len(script.left) == 1
    found = service.calls.statistics()
    assert (found.ongoing, found.outcomes["left"]) == (0, 1)


async def test_a_stream_is_asked_again_as_long_as_nothing_has_come():
    died = exceptions.ActorDiedError()
    service = Caller(Script(FakeStream([died]), FakeStream([1, 2])), "The reader", 30)
    assert [item async for item in service.stream("speak")] == [1, 2]
    service = Caller(Script(FakeStream([1, died]), FakeStream([1, 2])), "The reader", 30)
    stream = service.stream("speak")
    assert await anext(stream) == 1
    with pytest.raises(ServiceUnavailable, match="restarting"):
        await anext(stream)
    assert service.calls.statistics().outcomes["broken_off"] == 1


async def test_pieces_of_a_stream_have_their_own_time_limit():
    stream = FakeStream([1, ...])
    service = Caller(Script(stream), "The reader", 30, piece_timeout_seconds=0.01)
    pieces = service.stream("speak")
    assert await anext(pieces) == 1
    with pytest.raises(ServiceUnavailable, match=r"within 0\.01 seconds"):
        await anext(pieces)
    assert stream.cancelled


async def test_an_empty_stream_is_one():
    service = Caller(Script(FakeStream([])), "The reader", 30)
    assert [item async for item in service.stream("speak")] == []


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
async def test_an_engine_lost_in_mid_stream_says_so(error):
    chat = RayChatEngine(Script(FakeStream([HEAD, b"a", error])), 30)
    answer = chat.request("POST", "/v1/x", {}, b"")
    assert [await anext(answer), await anext(answer)] == [HEAD, b"a"]
    with pytest.raises(EngineUnavailable, match="restarting") as caught:
        await anext(answer)
    assert "secret" not in str(caught.value)
    assert chat.caller.calls.statistics().outcomes["broken_off"] == 1


async def test_an_engine_that_fails_is_left_alone():
    calls = PoolCalls("engine", "The model", BreakerConfig(failures=1))
    chat = RayChatEngine(Script(FakeStream([exceptions.ActorDiedError()])), 30, calls)
    with pytest.raises(EngineUnavailable):
        await anext(chat.request("POST", "/v1/x", {}, b""))
    with pytest.raises(CircuitOpen) as caught:
        await anext(chat.request("POST", "/v1/x", {}, b""))
    assert caught.value.code == "engine_unavailable"
