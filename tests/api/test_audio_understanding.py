"""``POST /v1/audio/transcribe``: transcripts in every form, and answers made of them."""

from __future__ import annotations

import json

import pytest
from fake_services import fake_mp4, fake_png, fake_wav

from serving.protocol.understanding import AudioUnderstanding

SPEECH = fake_wav((0.0, 2.0, "good morning"), (2.0, 4.5, "a <b> & c --> d"), seconds=4.6)
FILM = fake_mp4([{"cat": 0.9}, {"dog": 0.7}], (0.0, 1.0, "from a film"))
TEXT = "good morning a <b> & c --> d"
PATH = "/v1/audio/transcribe"


async def ask(http, content=SPEECH, **fields):
    return await http.post(PATH, files={"audio_file": ("speech.wav", content)}, data=fields)


async def test_json_is_the_default(http, platform):
    got = await ask(http)
    assert got.status_code == 200, got.text
    answer = got.json()
    AudioUnderstanding.model_validate(answer)
    assert answer.pop("id") == got.headers["x-request-id"]
    assert answer.pop("created") > 1_700_000_000
    media_id = answer.pop("audio_id")
    assert answer == {
        "object": "audio.understanding",
        "model": "whisper-base",
        "language": "en",
        "duration_seconds": 4.6,
        "text": TEXT,
        "usage": {"type": "duration", "seconds": 5},
        "manymodal": {
            "media": [
                {
                    "id": media_id,
                    "kind": "audio",
                    "seconds_heard": 4.6,
                    "transcript_segments": 2,
                    "cache": {"transcript": "miss"},
                }
            ]
        },
    }
    assert platform.engine.requests == []


async def test_times_are_given_when_asked_for(http):
    answer = (await ask(http, include_timestamps="true")).json()
    AudioUnderstanding.model_validate(answer)
    assert answer["segments"] == [
        {"start": 0.0, "end": 2.0, "text": "good morning"},
        {"start": 2.0, "end": 4.5, "text": "a <b> & c --> d"},
    ]
    assert answer["words"][:2] == [
        {"start": 0.0, "end": 1.0, "word": "good"},
        {"start": 1.0, "end": 2.0, "word": "morning"},
    ]


async def test_text_and_srt(http):
    text = await ask(http, format="text")
    assert (text.text, text.headers["content-type"]) == (f"{TEXT}\n", "text/plain; charset=utf-8")
    timed = await ask(http, format="text", include_timestamps="true")
    assert timed.text == (
        "[00:00:00.000 --> 00:00:02.000] good morning\n[00:00:02.000 --> 00:00:04.500] a <b> & c -> d\n"
    )
    srt = await ask(http, format="srt")
    assert srt.headers["content-type"] == "application/x-subrip; charset=utf-8"
    assert srt.text.startswith("1\n00:00:00,000 --> 00:00:02,000\ngood morning\n\n2\n")
    assert (await ask(http, fake_wav(), format="srt")).text == ""


async def test_a_prompt_is_answered_from_what_was_said(http, platform):
    got = await ask(
        http,
        prompt="Sum it up.",
        language="German",
        include_timestamps="true",
        max_tokens="7",
        temperature="0",
    )
    assert got.status_code == 200, got.text
    answer = got.json()
    AudioUnderstanding.model_validate(answer)
    assert (answer["answer"], answer["finish_reason"]) == ("A cat sits.", "stop")
    assert (answer["text"], answer["language"], answer["duration_seconds"]) == (TEXT, "de", 4.6)
    assert [segment["start"] for segment in answer["segments"]] == [0.0, 2.0]
    assert answer["usage"]["prompt_tokens_details"]["audio_tokens"] > 0
    assert answer["audio_id"] == answer["manymodal"]["media"][0]["id"]
    assert platform.perception.options.language == "de"
    (asked,) = platform.engine.requests
    assert "good morning" in asked["messages"][0]["content"]
    assert asked["messages"][0]["content"].endswith("Sum it up.")
    assert (asked["max_tokens"], asked["temperature"]) == (7, 0)
    alone = await ask(http, prompt="Sum it up.", language="de", format="text")
    assert alone.text == "A cat sits.\n"
    assert platform.perception.calls["transcribe"] == 1


async def test_the_answer_may_stream(http):
    got = await ask(http, prompt="Sum it up.", stream="true")
    assert got.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: {")]
    assert (
        "".join(c["delta"].get("content") or "" for event in events for c in event["choices"])
        == "A cat sits."
    )
    (ending,) = [event for event in events if "manymodal" in event]
    assert ending["manymodal"]["media"][0]["seconds_heard"] == 4.6
    assert events[-1]["usage"]["prompt_tokens_details"]["audio_tokens"] > 0
    assert got.text.endswith("data: [DONE]\n\n")


async def test_json_bodies_and_stored_media(http, platform):
    media_id = (await ask(http)).json()["audio_id"]
    for body in ({"file_id": media_id}, {"audio_url": media_id}, {"file_id": media_id, "prompt": "What?"}):
        got = await http.post(PATH, json=body)
        assert got.status_code == 200, got.text
        assert (got.json()["text"], got.json()["audio_id"]) == (TEXT, media_id)
    assert platform.perception.calls["transcribe"] == 1
    shared = await http.post(
        "/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file_id": (None, media_id)}
    )
    assert shared.json()["manymodal"]["media"][0]["cache"] == {"transcript": "hit"}


async def test_of_a_video_the_sound_is_transcribed_and_all_of_it_answered_from(http, platform):
    assert (await ask(http, FILM)).json()["text"] == "from a film"
    assert "encode_video" not in platform.perception.calls
    answer = (await ask(http, FILM, prompt="Who speaks?")).json()
    assert (answer["text"], answer["answer"]) == ("from a film", "A cat sits.")
    assert [frame["time_seconds"] for frame in answer["manymodal"]["media"][0]["frames"]] == [0.0, 1.0]


async def test_silence_is_no_error(http):
    silence = fake_wav(seconds=3.0)
    answer = (await ask(http, silence, include_timestamps="true")).json()
    assert (answer["text"], answer["segments"], answer["words"]) == ("", [], [])
    assert (await ask(http, silence, prompt="What is said?")).json()["answer"] == "A cat sits."


@pytest.mark.parametrize("prompt", [{}, {"prompt": "What is said?"}])
async def test_a_video_without_sound_is_refused(http, platform, prompt):
    got = await ask(http, fake_mp4([{"cat": 0.9}], sound=False), **prompt)
    assert got.status_code == 400
    assert (got.json()["error"]["param"], got.json()["error"]["code"]) == ("audio_file", "no_audio")
    assert platform.engine.requests == []


@pytest.mark.parametrize(
    ("content", "fields", "param"),
    [
        (fake_png(), {}, "audio_file"),
        (b"Just some text.", {}, "audio_file"),
        (fake_wav()[:14], {}, "audio_file"),
        (SPEECH, {"language": "klingon"}, "language"),
        (SPEECH, {"format": "vtt"}, "format"),
        (SPEECH, {"include_timestamps": "perhaps"}, "include_timestamps"),
        (SPEECH, {"prompt": ""}, "prompt"),
        (SPEECH, {"prompt": "x" * 2001}, "prompt"),
        (SPEECH, {"prompt": "Sum up.", "format": "srt"}, "format"),
        (SPEECH, {"prompt": "Sum up.", "format": "text", "include_timestamps": "true"}, "include_timestamps"),
        (SPEECH, {"stream": "true"}, "stream"),
        (SPEECH, {"prompt": "Sum up.", "stream": "true", "format": "text"}, "stream"),
        (SPEECH, {"audio_url": "http://x/"}, "audio_url"),
        (SPEECH, {"file_id": "file-" + "0" * 32}, "audio_url"),
        (SPEECH, {"nonsense": "1"}, "nonsense"),
    ],
)
async def test_refusals_name_the_field_that_came(http, platform, content, fields, param):
    got = await ask(http, content, **fields)
    assert got.status_code == 400, got.text
    assert got.json()["error"]["param"] == param
    assert "messages[" not in got.json()["error"]["message"]
    assert platform.engine.requests == []


async def test_what_the_engine_refuses_names_the_prompt(http, platform):
    platform.engine.refusal = (400, {"message": "This model's maximum context length is 2048 tokens."})
    for stream in ("false", "true"):
        got = await ask(http, prompt="Sum it up.", stream=stream)
        assert got.status_code == 400
        error = got.json()["error"]
        assert (error["param"], error["code"]) == ("prompt", "context_length_exceeded")


async def test_nothing_to_hear_and_unknown_models(http):
    nothing = await http.post(PATH, json={})
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (400, "missing_required_parameter")
    assert (await ask(http, model="gpt-9")).status_code == 404
    assert (await ask(http, model="gpt-9", prompt="What?")).status_code == 404
