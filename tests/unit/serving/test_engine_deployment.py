"""The decoder's deployment around a fake engine: bodies through the handle, or beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from fake_pixels import FakePixels, native

from serving.config import EngineConfig
from serving.deployments import engine as engine_deployment
from serving.deployments.engine import EngineDeployment
from serving.engines.side_channel import BodyAt, read_body
from serving.errors import EngineUnavailable
from serving.services import Attachment, EngineResponse, Perception

STREAM = EngineResponse(200, (("content-type", "text/event-stream; charset=utf-8"),))
WHOLE = EngineResponse(200, (("content-type", "application/json"),))


class FakeVllmEngine:
    """Answers every request with ``items``."""

    def __init__(self, config: EngineConfig, perception: Perception | None) -> None:
        self.items: tuple[EngineResponse | bytes, ...] = ()
        self.perception = perception
        self.attachments: tuple[Attachment, ...] = ()
        self.alive = True
        self.open_answers = 0

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        attachments: tuple[Attachment, ...],
    ) -> AsyncGenerator[EngineResponse | bytes, None]:
        self.open_answers += 1
        self.attachments = attachments
        try:
            for item in self.items:
                yield item
        finally:
            self.open_answers -= 1

    async def ready(self) -> bool:
        return self.alive


@pytest.fixture
async def deployment(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EngineDeployment]:
    monkeypatch.setattr(engine_deployment, "VllmEngine", FakeVllmEngine)
    made = EngineDeployment(EngineConfig(Path("/model"), "m", 2048, 4, "bfloat16", True))
    yield made
    await made._side_channel.aclose()


def fake_engine(deployment: EngineDeployment) -> Any:
    return deployment._engine


async def answer(deployment: EngineDeployment, beside: bool) -> list[Any]:
    return [item async for item in deployment.request("POST", "/v1/x", {}, b"", beside)]


async def test_everything_goes_through_the_handle_unless_asked(deployment: EngineDeployment) -> None:
    fake_engine(deployment).items = (STREAM, b"a", b"b")
    assert await answer(deployment, beside=False) == [STREAM, b"a", b"b"]
    fake_engine(deployment).items = (WHOLE, b"a")
    assert await answer(deployment, beside=True) == [WHOLE, b"a"]


async def test_a_stream_goes_beside_the_handle(deployment: EngineDeployment) -> None:
    fake_engine(deployment).items = (STREAM, b"a", b"b")
    items = deployment.request("POST", "/v1/x", {}, b"", True)
    assert await anext(items) == STREAM
    where = await anext(items)
    assert isinstance(where, BodyAt)
    assert b"".join([chunk async for chunk in read_body(where)]) == b"ab"
    assert [item async for item in items] == []
    assert fake_engine(deployment).open_answers == 0


async def test_a_reader_that_leaves_gets_no_rest_through_the_handle(deployment: EngineDeployment) -> None:
    fake_engine(deployment).items = (STREAM, *[bytes(1 << 20)] * 20)
    items = deployment.request("POST", "/v1/x", {}, b"", True)
    await anext(items)
    where = await anext(items)
    assert isinstance(where, BodyAt)
    async with aclosing(read_body(where)) as body:
        await anext(body)
    with pytest.raises(EngineUnavailable):
        await anext(items)
    assert fake_engine(deployment).open_answers == 0


async def test_a_dead_engine_is_unhealthy(deployment: EngineDeployment) -> None:
    await deployment.check_health()
    fake_engine(deployment).alive = False
    with pytest.raises(EngineUnavailable):
        await deployment.check_health()


async def test_attachments_and_who_gives_pixels_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_deployment, "VllmEngine", FakeVllmEngine)
    pixels: Any = FakePixels()
    made = EngineDeployment(EngineConfig(Path("/model"), "m"), pixels)
    engine = fake_engine(made)
    engine.items = (WHOLE, b"{}")
    attachments = (native(1),)
    request = made.request("POST", "/v1/x", {}, b"", attachments=attachments)
    assert [item async for item in request] == [WHOLE, b"{}"]
    assert (engine.attachments, engine.perception) == (attachments, pixels)
    await made._side_channel.aclose()
