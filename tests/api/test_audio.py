"""Transcriptions through the official client, in every form."""

from __future__ import annotations

import openai
import pytest
from fake_services import fake_mp4, fake_png, fake_wav

SPEECH = fake_wav((0.0, 2.0, "good morning"), (2.0, 4.5, "a <b> & c --> d"), seconds=4.6)


async def transcribe(client, content=SPEECH, name="speech.wav", **options):
    return await client.audio.transcriptions.create(model="whisper-1", file=(name, content), **options)


async def test_json(client):
    answer = await transcribe(client)
    assert answer.text == "good morning a <b> & c --> d"
    assert answer.usage.model_dump() == {"type": "duration", "seconds": 5.0}


async def test_text_srt_vtt(client):
    assert await transcribe(client, response_format="text") == "good morning a <b> & c --> d\n"
    srt = await transcribe(client, response_format="srt")
    assert srt.startswith("1\n00:00:00,000 --> 00:00:02,000\ngood morning\n\n2\n")
    assert "\na <b> & c -> d\n" in srt
    vtt = await transcribe(client, response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\ngood morning\n\n")
    assert "a &lt;b&gt; &amp; c -&gt; d" in vtt


async def test_verbose_json(client):
    answer = await transcribe(client, response_format="verbose_json")
    assert (answer.language, answer.duration) == ("english", 4.6)
    assert answer.task == "transcribe"
    first = answer.segments[0].model_dump()
    assert first == {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": 2.0,
        "text": " good morning",
        "tokens": [1, 2],
        "temperature": 0.0,
        "avg_logprob": -0.2,
        "compression_ratio": 1.1,
        "no_speech_prob": 0.01,
    }
    assert answer.segments[1].seek == 200
    assert answer.words is None
    assert answer.usage.seconds == 5
    words = await transcribe(client, response_format="verbose_json", timestamp_granularities=["word"])
    assert [(w.word, w.start, w.end) for w in words.words[:2]] == [("good", 0.0, 1.0), ("morning", 1.0, 2.0)]
    assert words.segments is None
    both = await transcribe(
        client, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert both.segments
    assert both.words


async def test_options_reach_the_model(client, platform):
    await transcribe(client, language="German", prompt="Names: Ute", temperature=0.4)
    options = platform.perception.options
    assert (options.language, options.prompt, options.temperature) == ("de", "Names: Ute", 0.4)


async def test_video_sound_and_silence(client):
    video = fake_mp4([{"cat": 0.9}], (0.0, 1.0, "from a film"))
    assert (await transcribe(client, video, "film.mp4")).text == "from a film"
    silence = await transcribe(client, fake_wav(seconds=3.0), response_format="verbose_json")
    assert (silence.text, silence.segments) == ("", [])
    assert await transcribe(client, fake_wav(), response_format="srt") == ""


async def test_known_sound_is_not_heard_twice(client, platform):
    await transcribe(client)
    await transcribe(client, response_format="srt")
    assert platform.perception.calls == {"probe": 1, "transcribe": 1}
    await transcribe(client, language="de")
    assert platform.perception.calls["transcribe"] == 2


@pytest.mark.parametrize(
    ("content", "options", "param"),
    [
        (b"", {}, "file"),
        (b"Just some text.", {}, "file"),
        (fake_png(), {}, "file"),
        (fake_wav()[:14], {}, "file"),
        (fake_mp4([{"cat": 0.9}], sound=False), {}, "file"),
        (SPEECH, {"language": "klingon"}, "language"),
        (SPEECH, {"response_format": "xml"}, "response_format"),
        (SPEECH, {"temperature": 7}, "temperature"),
        (SPEECH, {"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        (SPEECH, {"extra_body": {"nonsense": "1"}}, "nonsense"),
    ],
)
async def test_refusals(client, platform, content, options, param):
    with pytest.raises(openai.BadRequestError) as refused:
        await transcribe(client, content, **options)
    assert refused.value.param == param
    if param == "file":
        assert "nothing" not in str(refused.value)


async def test_forms_that_are_none(http):
    for request in (
        {"json": {"model": "whisper-1"}},
        {"data": {"model": "whisper-1"}},
        {"content": b"--x", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"files": {"file": ("a.wav", SPEECH)}},
        {"data": {"model": "whisper-1", "file": "text"}, "files": {"other": ("a", b"x")}},
    ):
        answer = await http.post("/v1/audio/transcriptions", **request)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("form", ["json", "verbose_json"])
async def test_the_answer_says_what_was_heard(client, form):
    for tier in ("miss", "hit"):
        answer = await transcribe(client, response_format=form)
        (medium,) = answer.model_extra["manymodal"]["media"]
        assert medium.pop("id").startswith("file-")
        assert medium == {
            "kind": "audio",
            "seconds_heard": 4.6,
            "transcript_segments": 2,
            "cache": {"transcript": tier},
        }
    video = await transcribe(client, fake_mp4([{"cat": 0.9}], (0.0, 1.0, "hi")), "film.mp4")
    assert video.model_extra["manymodal"]["media"][0]["kind"] == "video"
