"""Ray's handles as services: every failure gets its own name, nothing leaks, nothing is left running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_ray import FakeHandle, FakeMethod, FakeResponse, FakeStream, exceptions, serve_exceptions

from encoders.errors import CorruptMedia, EncoderOverloaded
from encoders.moderation import ModerationScores
from encoders.types import Embeddings, FrameSampling
from search.errors import CollectionNotFound
from search.types import Query
from serving.engines.side_channel import SideChannel
from serving.errors import (
    ApiError,
    EngineOverloaded,
    EngineRefused,
    EngineUnavailable,
    InvalidRequest,
    ServiceUnavailable,
)
from serving.ray_adapter import RayBridge, RayChatEngine, RayPerception, RaySearchIndex
from serving.services import EngineResponse, PromptEmbeddings
from storage.errors import MediaNotFound
from storage.types import MediaRef

MEDIA = MediaRef("file-1", "t", "ab" * 32, 3, "image/png")
EMBEDDINGS = Embeddings(np.ones((1, 4), dtype=np.float32), (1,))
HEAD = EngineResponse(200, (("content-type", "text/event-stream"),))


def remote(cause: BaseException) -> Exception:
    """What a caller gets for an exception raised in a replica."""
    error: Exception = exceptions.RayTaskError("m", "Traceback: secret path /x", cause).as_instanceof_cause()
    return error


def perception(outcome: Any, timeout_seconds: float = 30) -> tuple[RayPerception, FakeResponse]:
    response = FakeResponse(outcome)
    return RayPerception({"perception": FakeHandle(response)}, timeout_seconds), response


def engine(*items: Any, beside: bool = False) -> tuple[RayChatEngine, FakeStream, FakeHandle]:
    stream = FakeStream(list(items))
    handle = FakeHandle(stream)
    return RayChatEngine(handle, 30, beside=beside), stream, handle


async def read(chat: RayChatEngine) -> list[EngineResponse | bytes]:
    return [item async for item in chat.request("POST", "/v1/x", {}, b"{}")]


async def test_answers_and_arguments_pass_through() -> None:
    handle = FakeHandle(FakeResponse(EMBEDDINGS))
    assert await RayPerception({"perception": handle}, 30).embed_texts(("a",)) is EMBEDDINGS
    assert handle.calls == [("embed_texts", ("a",))]
    assert await RayPerception({"perception": handle}, 30).embed_texts(("a",), "other") is EMBEDDINGS
    assert handle.calls[1:] == [("embed_texts", ("a",), "other")]
    assert handle.sessions == ["other"]  # whoever has loaded it answers
    handle = FakeHandle(FakeResponse(7))
    assert await RaySearchIndex(handle, 30).delete("t", "default", "a") == 7
    assert handle.calls == [("delete", "t", "default", "a")]
    assert await RaySearchIndex(handle, 30).delete_media("t", ("m",)) == 7
    assert handle.calls[1:] == [("delete_media", "t", ("m",))]
    assert await RaySearchIndex(FakeHandle(FakeResponse(True)), 30).ready()
    handle = FakeHandle(FakeResponse(b"jpeg"))
    assert await RayPerception({"perception": handle}, 30).thumbnail(MEDIA, 256) == b"jpeg"
    assert handle.calls == [("thumbnail", MEDIA, 256, None)]
    assert (
        await RayPerception({"perception": FakeHandle(FakeResponse("f" * 16))}, 30).fingerprint(MEDIA)
        == "f" * 16
    )


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("moderate_texts", (("a", "b"),)),
        ("moderate_image", (MEDIA,)),
        ("moderate_video", (MEDIA, FrameSampling())),
    ],
)
async def test_judging_passes_through(method: str, arguments: tuple[Any, ...]) -> None:
    scores = ModerationScores.of({"hate": 0.5})
    handle = FakeHandle(FakeResponse(scores))
    assert await getattr(RayPerception({"perception": handle}, 30), method)(*arguments) is scores
    assert handle.calls == [(method, *arguments)]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("create", ("t", "c", None)),
        ("describe", ("t", "c")),
        ("collections", ("t",)),
        ("drop", ("t", "c")),
        ("drop_alias", ("t", "a")),
        ("add", ("t", "c", ())),
        ("search", ("t", "c", Query())),
        ("documents", ("t", "c", ("a",))),
        ("scroll", ("t", "c", "a", 5, None)),
        ("known_contents", ("t", "c", ("ab",))),
        ("clusters", ("t", "c", 2, None)),
        ("layout", ("t", "c", 2, 9, None)),
        ("vacuum", ()),
    ],
)
async def test_every_call_to_search_passes_through(method: str, arguments: tuple[Any, ...]) -> None:
    handle = FakeHandle(FakeResponse(1))
    assert await getattr(RaySearchIndex(handle, 30), method)(*arguments) == 1
    assert handle.calls == [(method, *arguments)]


async def test_pointing_an_alias_answers_nothing() -> None:
    handle = FakeHandle(FakeResponse(None))
    await RaySearchIndex(handle, 30).point_alias("t", "a", "c")
    assert handle.calls == [("point_alias", "t", "a", "c")]


@pytest.mark.parametrize(
    "cause",
    [
        CorruptMedia("The picture cannot be read."),
        EncoderOverloaded("The encoders are busy."),
        MediaNotFound("No media with this id was found."),
        CollectionNotFound("There is no collection named 'x'."),
        InvalidRequest("Wrong.", "messages", "some_code"),
    ],
)
async def test_an_error_of_the_platform_arrives_as_itself(cause: Exception) -> None:
    for wrapped in (remote(cause), exceptions.RayTaskError("m", "trace", remote(cause))):
        service, _ = perception(wrapped)
        with pytest.raises(type(cause)) as caught:
            await service.encode_image(MEDIA)
        assert caught.value is cause
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "cause",
    [
        ValueError("secret path /x"),
        TimeoutError("secret path /x"),
        OSError(2, "secret", "/x"),
    ],
)
async def test_an_unknown_error_keeps_its_words_to_the_log(
    cause: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    service, _ = perception(remote(cause))
    with pytest.raises(ApiError) as caught:
        await service.encode_image(MEDIA)
    assert type(caught.value) is ApiError
    assert "secret" not in repr(caught.value)
    assert "secret path /x" in caplog.text
    chat, stream, _ = engine(HEAD, remote(cause))
    with pytest.raises(ApiError) as caught:
        await read(chat)
    assert type(caught.value) is ApiError
    assert "secret" not in repr(caught.value)
    assert not stream.cancelled


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (serve_exceptions.BackPressureError(5, 4), "queue is full"),
        (exceptions.RayActorError(error_msg="secret"), "restarting"),
        (exceptions.ActorDiedError(), "restarting"),
        (exceptions.TaskCancelledError(), "restarting"),
        (serve_exceptions.RequestCancelledError("secret"), "restarting"),
        (serve_exceptions.DeploymentUnavailableError("secret"), "restarting"),
        (asyncio.CancelledError(), "restarting"),  # Ray's answer when the replica's side was cancelled
        (remote(asyncio.CancelledError("secret")), "restarting"),
        (exceptions.RaySystemError("secret"), "cannot be reached"),
    ],
)
async def test_rays_own_errors(error: BaseException, words: str) -> None:
    service, _ = perception(error)
    with pytest.raises(ServiceUnavailable, match=words) as caught:
        await service.encode_image(MEDIA)
    assert "secret" not in str(caught.value)
    chat, stream, _ = engine(HEAD, error)
    wanted = EngineOverloaded if isinstance(error, serve_exceptions.BackPressureError) else EngineUnavailable
    with pytest.raises(wanted, match=words):
        await read(chat)
    assert not stream.cancelled  # it has ended


async def test_a_silent_service_is_given_up_and_cancelled() -> None:
    service, response = perception(..., timeout_seconds=0.02)
    with pytest.raises(ServiceUnavailable, match=r"did not answer within 0\.02 seconds"):
        await service.encode_image(MEDIA)
    assert response.cancelled


async def test_a_cancelled_caller_cancels_its_call() -> None:
    service, response = perception(...)
    calling = asyncio.create_task(service.encode_image(MEDIA))
    await response.started.wait()
    calling.cancel()
    await asyncio.wait({calling})
    assert calling.cancelled()
    assert response.cancelled


async def test_an_engines_answer_passes_through() -> None:
    chat, stream, handle = engine(HEAD, b"a", b"b")
    assert await read(chat) == [HEAD, b"a", b"b"]
    assert handle.calls == [("request", "POST", "/v1/x", {}, b"{}", False, ())]
    assert not stream.cancelled


async def test_an_engines_typed_error_keeps_its_class() -> None:
    chat, _, _ = engine(HEAD, remote(EngineRefused("No.")))
    with pytest.raises(EngineRefused):
        await read(chat)


async def test_closing_the_answer_early_cancels_the_call() -> None:
    chat, stream, _ = engine(HEAD, b"a", ...)
    async with aclosing(chat.request("POST", "/v1/x", {}, b"")) as answer:
        assert await anext(answer) == HEAD
    assert stream.cancelled


async def test_a_cancelled_reader_cancels_the_call() -> None:
    chat, stream, _ = engine(...)
    reading = asyncio.create_task(read(chat))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()
    assert stream.cancelled


async def chunks_of(*chunks: bytes, error: Exception | None = None) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


async def beside(channel: SideChannel, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[Any, None]:
    """What an engine replica sends through the handle: the head, then the body's place."""
    yield HEAD
    async with aclosing(channel.send(chunks)) as sending:
        try:
            async for where in sending:
                yield where
        except EngineUnavailable as error:
            raise remote(error) from None


async def test_a_body_beside_the_handle_is_followed() -> None:
    channel = SideChannel()
    chat, stream, handle = engine(beside=True)
    stream.items = beside(channel, chunks_of(b"one ", b"two"))
    head, *body = await read(chat)
    assert head == HEAD
    assert b"".join(body) == b"one two"
    assert handle.calls[0][-2:] == (True, ())
    assert not stream.cancelled
    await channel.aclose()


async def test_the_handle_says_why_a_body_beside_it_ended_early() -> None:
    channel = SideChannel()
    chat, stream, _ = engine(beside=True)
    stream.items = beside(channel, chunks_of(b"begun", error=EngineUnavailable("The core died.")))
    answer = chat.request("POST", "/v1/x", {}, b"")
    assert await anext(answer) == HEAD
    assert await anext(answer) == b"begun"
    with pytest.raises(EngineUnavailable, match="The core died"):
        await anext(answer)
    await channel.aclose()


async def test_leaving_a_body_beside_the_handle_cancels_the_call() -> None:
    channel = SideChannel()
    chat, stream, _ = engine(beside=True)
    stream.items = beside(channel, chunks_of(*[b"x"] * 3))
    async with aclosing(chat.request("POST", "/v1/x", {}, b"")) as answer:
        await anext(answer)
        assert await anext(answer)
    assert stream.cancelled
    await stream.items.aclose()
    await channel.aclose()


async def test_the_search_index_hands_on_the_query() -> None:
    handle = FakeHandle(FakeResponse(()))
    query = Query(np.ones(4, dtype=np.float32))
    assert await RaySearchIndex(handle, 30).search("t", "default", query) == ()
    assert handle.calls == [("search", "t", "default", query)]


class Chained(FakeHandle):
    """A handle whose calls get responses of their own, by reference."""

    def __init__(self, **responses: FakeResponse) -> None:
        super().__init__(None)
        self.responses = responses
        self.asked: list[dict[str, Any]] = []

    def options(self, **options: Any) -> FakeHandle:
        self.asked.append(options)
        return self

    def __getattr__(self, name: str) -> Any:
        method = FakeMethod(self, name)

        def remote(*arguments: Any) -> Any:
            method.remote(*arguments)
            return self.responses[name]

        return SimpleNamespace(remote=remote)


BRIDGED = [
    ("soft_image", (MEDIA, 5), "image_tokens", "project_image"),
    ("soft_video", (MEDIA, FrameSampling()), "video_tokens", "project_video"),
    ("soft_audio", (MEDIA,), "audio_tokens", "project_audio"),
]


@pytest.mark.parametrize(("method", "arguments", "encode", "project"), BRIDGED)
async def test_tokens_go_from_the_encoders_to_the_bridge_without_a_stop(
    method: str, arguments: tuple[Any, ...], encode: str, project: str
) -> None:
    tokens, soft = FakeResponse(...), FakeResponse(object())
    perception, bridge = Chained(**{encode: tokens}), Chained(**{project: soft})
    answer = await getattr(RayBridge({"perception": perception}, bridge, 30), method)(*arguments)
    assert answer is soft._outcome
    assert perception.calls == [(encode, *arguments)]
    assert bridge.calls == [(project, tokens)]  # the response itself: it was never awaited here
    assert not tokens.started.is_set()
    assert perception.asked == bridge.asked == [{"_by_reference": True}]


async def test_an_error_of_the_encoders_passes_through_the_bridge_as_itself() -> None:
    failed = remote(remote(CorruptMedia("The file is damaged.")))
    bridge = RayBridge(
        {"perception": Chained(image_tokens=FakeResponse(...))},
        Chained(project_image=FakeResponse(failed)),
        30,
    )
    with pytest.raises(CorruptMedia, match="damaged"):
        await bridge.soft_image(MEDIA)


@pytest.mark.parametrize("timeout_seconds", [0.01, 30.0])
async def test_whoever_gives_up_cancels_encoders_and_bridge(timeout_seconds: float) -> None:
    tokens, soft = FakeResponse(...), FakeResponse(...)
    bridge = RayBridge(
        {"perception": Chained(image_tokens=tokens)}, Chained(project_image=soft), timeout_seconds
    )
    asking = asyncio.create_task(bridge.soft_image(MEDIA))
    await soft.started.wait()
    if timeout_seconds == 0.01:
        with pytest.raises(ServiceUnavailable, match="encoders' service did not answer"):
            await asking
    else:
        asking.cancel()
        await asyncio.wait({asking})
    assert tokens.cancelled
    assert soft.cancelled


async def test_attachments_reach_the_engine() -> None:
    chat, _, handle = engine(HEAD)
    soft = PromptEmbeddings(np.zeros((2, 3), np.float32), "m")
    assert [item async for item in chat.request("POST", "/v1/x", {}, b"", (soft,))] == [HEAD]
    assert handle.calls[0][-1] == (soft,)
