"""Transcriptions as events while they are being made, through the official client and piece by piece."""

from __future__ import annotations

import asyncio

import httpx2
import openai
import pytest
from asgi_listener import AsgiListener
from fake_platform import http_client, openai_client
from fake_services import fake_mp4, fake_wav

from encoders.errors import CorruptMedia, EncoderOverloaded

SPEECH = fake_wav(
    (0.0, 2.0, "good morning"), (2.0, 4.5, "to all"), (4.5, 5.0, ""), (5.0, 6.0, "of you"), seconds=6.2
)
TEXT = "good morning to all  of you"  # the silent passage is a space


def request(content=SPEECH, **fields):
    data = {"model": "whisper-1", "stream": "true", **fields}
    return httpx2.Request(
        "POST", "http://localhost/v1/audio/transcriptions", data=data, files={"file": ("a.wav", content)}
    )


async def events_of(client, content=SPEECH, name="a.wav", **options):
    stream = await client.audio.transcriptions.create(
        model="whisper-1", file=(name, content), stream=True, **options
    )
    return [event async for event in stream]


@pytest.mark.parametrize("form", ["json", "text"])
async def test_deltas_then_done_and_again_from_the_cache(client, platform, form):
    for tier in ("miss", "hit"):
        *deltas, done = await events_of(client, response_format=form)
        assert {event.type for event in deltas} == {"transcript.text.delta"}
        assert deltas[0].delta == "good morning"
        assert "".join(event.delta for event in deltas) == TEXT
        assert (done.type, done.text) == ("transcript.text.done", TEXT)
        assert done.usage.model_dump(include={"type", "seconds"}) == {"type": "duration", "seconds": 7}
        (medium,) = done.model_extra["manymodal"]["media"]
        assert medium["cache"] == {"transcript": tier}
    assert platform.perception.calls["transcribe"] == 1
    assert (await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", SPEECH))).text == TEXT
    assert platform.perception.calls["transcribe"] == 1  # streamed and whole transcripts are one artifact


async def test_verbose_events_have_times(client):
    events = await events_of(
        client, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert [(one.id, one.start, one.end, one.text) for one in segments[:2]] == [
        ("seg_000", 0.0, 2.0, " good morning"),
        ("seg_001", 2.0, 4.5, " to all"),
    ]
    assert segments[0].model_extra["words"][1] == {"word": "morning", "start": 1.0, "end": 2.0}
    assert events[-1].model_extra["language"] == "english"
    assert events[-1].model_extra["duration"] == 6.2


async def test_silence_and_a_film(client):
    (done,) = await events_of(client, fake_wav(seconds=3.0))
    assert (done.type, done.text) == ("transcript.text.done", "")
    *_, done = await events_of(client, fake_mp4([{"cat": 0.9}], (0.0, 1.0, "from a film")), "film.mp4")
    assert done.text == "from a film"


async def test_a_segment_arrives_before_the_next_is_heard(platform):
    platform.perception.heard = asyncio.Semaphore(1)
    listener = AsgiListener(platform.app, request())
    start = await listener.message()
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert await listener.events() == [{"type": "transcript.text.delta", "delta": "good morning"}]
    assert not listener.waiting
    assert len(platform.gateway.perceiver.live) == 1
    platform.perception.heard.release()
    assert await listener.events() == [{"type": "transcript.text.delta", "delta": " to all"}]
    for _ in range(2):
        platform.perception.heard.release()
    assert (await listener.events())[0]["delta"] == "  of you"
    assert (await listener.events())[0]["text"] == TEXT
    await asyncio.wait_for(listener.running, 10)
    assert len(platform.gateway.perceiver.live) == 0


async def test_who_leaves_ends_the_work_unless_others_wait(platform):
    perception = platform.perception
    perception.heard = asyncio.Semaphore(1)
    first, second = (AsgiListener(platform.app, request()) for _ in range(2))
    for listener in (first, second):
        await listener.message()
        assert (await listener.events())[0]["delta"] == "good morning"
    assert perception.calls["transcribe"] == 1
    first.leave()
    await asyncio.wait_for(first.running, 10)
    assert perception.parts_open == 1
    third = AsgiListener(platform.app, request())  # follows the same work, from its beginning
    await third.message()
    assert (await third.events())[0]["delta"] == "good morning"
    perception.heard.release()
    for listener in (second, third):
        assert (await listener.events())[0]["delta"] == " to all"
        listener.leave()
        await asyncio.wait_for(listener.running, 10)
    assert len(platform.gateway.perceiver.live) == 0
    async with asyncio.timeout(10):
        while perception.parts_open:  # noqa: ASYNC110 - the fake counts, it tells nobody
            await asyncio.sleep(0)
    perception.heard = None
    async with openai_client(http_client(platform)) as client:
        assert (await events_of(client))[-1].text == TEXT  # what was not finished is not kept
    assert perception.calls["transcribe"] == 2


async def test_who_reads_nothing_is_dropped(platform_with):
    platform = platform_with(stall_timeout_seconds=0.05)
    listener = AsgiListener(platform.app, request(), reads=2)
    await asyncio.wait_for(listener.running, 10)
    assert platform.perception.parts_open == 0
    assert len(platform.gateway.perceiver.live) == 0


async def test_a_failure_in_the_middle_is_an_event_and_at_once_a_status(platform, client):
    perception = platform.perception
    perception.heard = asyncio.Semaphore(1)
    listener = AsgiListener(platform.app, request())
    await listener.message()
    await listener.events()
    perception.failure = EncoderOverloaded("The model is shutting down; send the request again later.")
    perception.heard.release()
    (event,) = await listener.events()
    assert event["error"]["code"] == "encoders_overloaded"
    await asyncio.wait_for(listener.running, 10)
    perception.failure, perception.heard = None, None
    damaged = fake_wav((0.0, 1.0, "x"))
    perception.failure = CorruptMedia("The file is damaged and cannot be decoded.")
    with pytest.raises(openai.BadRequestError) as refused:
        await events_of(client, damaged)
    assert refused.value.param == "file"


async def test_events_that_are_refused(client):
    for form in ("srt", "vtt"):
        with pytest.raises(openai.BadRequestError) as refused:
            await events_of(client, response_format=form)
        assert refused.value.param == "stream"
