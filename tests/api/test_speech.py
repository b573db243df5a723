"""Text to speech through the official client: every field, bytes and events as they are made."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace

import httpx2
import openai
import pytest
from asgi_listener import AsgiListener
from fake_platform import build_platform, http_client, openai_client

from encoders.errors import EncoderOverloaded
from encoders.types import SpeakOptions
from serving.identity import CALLER_KEY, Caller


def request(**fields):
    body = {"model": "tts-1", "voice": "alloy", "input": "one two three", **fields}
    return httpx2.Request("POST", "http://localhost/v1/audio/speech", json=body)


async def speak(client, text="one two three", **options):
    return await client.audio.speech.create(**{"model": "tts-1", "voice": "alloy", "input": text, **options})


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("mp3", "audio/mpeg"),
        ("opus", "audio/opus"),
        ("aac", "audio/aac"),
        ("flac", "audio/flac"),
        ("wav", "audio/wav"),
        ("pcm", "audio/pcm"),
    ],
)
async def test_every_format(client, platform, form, kind):
    answer = await speak(client, response_format=form, speed=1.5)
    assert answer.content == b"<one><two><three>"
    assert answer.response.headers["content-type"] == kind
    assert platform.perception.spoken == SpeakOptions("one two three", 1.5, form)


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd", "gpt-4o-mini-tts", "hibari-heart"])
@pytest.mark.parametrize("voice", ["heart", "nova", {"id": "heart"}])
async def test_names(client, model, voice):
    answer = await speak(client, model=model, voice=voice, instructions="Whisper.")
    assert answer.content == b"<one><two><three>"


async def test_the_streaming_client_and_events(client, http):
    async with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="one two"
    ) as answer:
        assert b"".join([piece async for piece in answer.iter_bytes()]) == b"<one><two>"
    answer = await http.post(
        "/v1/audio/speech",
        json={"model": "tts-1", "voice": "alloy", "input": "one two", "stream_format": "sse"},
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    *deltas, done = [json.loads(line[5:]) for line in answer.text.split("\n\n") if line]
    assert [event["type"] for event in deltas] == ["speech.audio.delta"] * 2
    assert b"".join(base64.b64decode(event["audio"]) for event in deltas) == b"<one><two>"
    usage = {"input_tokens": 7, "output_tokens": 160, "total_tokens": 167}
    assert done == {"type": "speech.audio.done", "usage": usage}


async def test_sound_arrives_while_it_is_made_and_who_leaves_ends_it(platform):
    platform.perception.heard = asyncio.Semaphore(1)
    listener = AsgiListener(platform.app, request())
    assert (await listener.message())["status"] == 200
    assert (await listener.message())["body"] == b"<one>"
    assert not listener.waiting
    platform.perception.heard.release()
    assert (await listener.message())["body"] == b"<two>"
    listener.leave()
    await asyncio.wait_for(listener.running, 10)
    assert platform.perception.parts_open == 0


async def test_tenants_take_turns_at_the_voice(platform):
    perception = platform.perception
    perception.heard = asyncio.Semaphore(0)

    def ask(tenant: str, words: str) -> AsgiListener:
        async def app(scope, receive, send):
            await platform.app({**scope, CALLER_KEY: Caller(tenant)}, receive, send)

        return AsgiListener(app, request(input=words))

    async def reached(begun: int, waiting: int) -> None:
        async with asyncio.timeout(10):
            while (perception.calls.get("speak"), turns.waiting) != (begun, waiting):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)

    turns = platform.gateway.perceiver.tasks.voice
    noisy = [ask("noisy", "one") for _ in range(20)]
    await reached(4, 16)  # in the voice's own line the first is first, so few may stand there
    quiet = ask("quiet", "two")
    await reached(4, 17)
    perception.heard.release()
    await reached(5, 16)
    assert perception.spoken.text == "two"
    for listener in (*noisy, quiet):
        listener.leave()
        await asyncio.wait_for(listener.running, 10)
    assert perception.parts_open == turns.held == turns.waiting == 0


async def test_who_reads_nothing_is_dropped(platform_with):
    platform = platform_with(stall_timeout_seconds=0.05)
    listener = AsgiListener(platform.app, request(), reads=2)
    await asyncio.wait_for(listener.running, 10)
    assert platform.perception.parts_open == 0


@pytest.mark.parametrize("form", ["audio", "sse"])
async def test_a_failure_in_the_middle_never_looks_complete(platform, form):
    platform.perception.heard = asyncio.Semaphore(1)
    listener = AsgiListener(platform.app, request(stream_format=form))
    await listener.message()
    await listener.message()
    platform.perception.failure = EncoderOverloaded(
        "The model is shutting down; send the request again later."
    )
    platform.perception.heard.release()
    if form == "sse":
        assert (await listener.events())[0]["error"]["code"] == "encoders_overloaded"
        await asyncio.wait_for(listener.running, 10)
        assert not (await listener.message())["more_body"]
    else:
        await asyncio.wait([listener.running], timeout=10)
        assert listener.running.exception() is not None or not listener.waiting  # no end was sent
        assert not listener.waiting


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": " \n"}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"input": "unreadable"}, "input"),
        ({"voice": "stranger"}, "voice"),
        ({"voice": {"id": "stranger"}}, "voice"),
        ({"voice": {"name": "heart"}}, "voice.id"),
        ({"response_format": "ogg"}, "response_format"),
        ({"speed": 0.24}, "speed"),
        ({"speed": 4.01}, "speed"),
        ({"speed": True}, "speed"),
        ({"speed": "1"}, "speed"),
        ({"stream_format": "raw"}, "stream_format"),
        ({"instructions": "x" * 4097}, "instructions"),
        ({"ssml": True}, "ssml"),
    ],
)
async def test_refusals(http, fields, param):
    answer = await http.post(
        "/v1/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": "one", **fields}
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("fields", [{"input": "x" * 4096}, {"speed": 0.25}, {"speed": 4}])
async def test_at_the_limits(http, fields):
    answer = await http.post(
        "/v1/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": "one", **fields}
    )
    assert answer.status_code == 200


async def test_other_models_and_no_voice(client, tmp_path, config):
    with pytest.raises(openai.NotFoundError):
        await speak(client, model="whisper-1")
    mute = build_platform(_folder(tmp_path), replace(config, voice_model=None))
    async with openai_client(http_client(mute)) as without:
        with pytest.raises(openai.InternalServerError) as refused:
            await speak(without)
        assert (refused.value.status_code, refused.value.code) == (501, "not_offered")
        assert "tts-1" not in [model.id async for model in await without.models.list()]


def _folder(tmp_path):
    folder = tmp_path / "mute"
    folder.mkdir()
    return folder
