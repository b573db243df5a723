"""Translations in every form, and the fields of transcriptions that other models of OpenAI's have."""

from __future__ import annotations

import openai
import pytest
from fake_services import fake_mp4, fake_png, fake_wav

from encoders.types import VoiceActivity

# The official client advises against all of its translations.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

SPEECH = fake_wav((0.0, 2.0, "good morning"), seconds=2.5)


async def translate(client, content=SPEECH, name="speech.wav", **options):
    return await client.audio.translations.create(model="whisper-1", file=(name, content), **options)


async def test_every_form(client, platform):
    answer = await translate(client)
    assert answer.text == "good morning"
    assert platform.perception.options.translate
    assert await translate(client, response_format="text") == "good morning\n"
    assert (await translate(client, response_format="srt")).startswith(
        "1\n00:00:00,000 --> 00:00:02,000\ngood"
    )
    assert (await translate(client, response_format="vtt")).startswith("WEBVTT\n\n00:00:00.000 -->")
    verbose = await translate(client, response_format="verbose_json", prompt="Names: Ute", temperature=0.2)
    assert (verbose.language, verbose.duration, verbose.text) == ("english", 2.5, "good morning")
    assert verbose.segments[0].text == " good morning"
    assert verbose.model_extra["task"] == "translate"
    assert verbose.model_extra["usage"] == {"type": "duration", "seconds": 3}
    options = platform.perception.options
    assert (options.language, options.prompt, options.temperature) == (None, "Names: Ute", 0.2)


async def test_translations_and_transcriptions_are_kept_apart(client, platform):
    await translate(client)
    await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", SPEECH))
    await translate(client)
    assert platform.perception.calls["transcribe"] == 2


async def test_a_stored_film(client, http):
    film = fake_mp4([{"cat": 0.9}], (0.0, 1.0, "from a film"))
    stored = await client.files.create(file=("film.mp4", film), purpose="user_data")
    form = {"model": (None, "whisper-1"), "file_id": (None, stored.id)}
    answer = await http.post("/v1/audio/translations", files=form)
    assert answer.json()["text"] == "from a film"


@pytest.mark.parametrize(
    ("content", "options", "param"),
    [
        (b"Just some text.", {}, "file"),
        (fake_png(), {}, "file"),
        (SPEECH, {"response_format": "diarized_json"}, "response_format"),
        (SPEECH, {"temperature": 7}, "temperature"),
        (SPEECH, {"extra_body": {"language": "de"}}, "language"),
        (SPEECH, {"extra_body": {"stream": "true"}}, "stream"),
    ],
)
async def test_refusals(client, content, options, param):
    with pytest.raises(openai.BadRequestError) as refused:
        await translate(client, content, **options)
    assert refused.value.param == param


async def test_chunking_reaches_the_detector(client, platform):
    async def chunked(strategy):
        await client.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", SPEECH), chunking_strategy=strategy
        )
        return platform.perception.options.activity

    assert await chunked("auto") is None
    assert await chunked({"type": "server_vad"}) == VoiceActivity(0.5, 0.2, 0.3)
    wanted = {"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 500, "prefix_padding_ms": 0}
    assert await chunked(wanted) == VoiceActivity(0.7, 0.5, 0.0)
    assert platform.perception.calls["transcribe"] == 3  # each is a transcript of its own
    answer = await client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", SPEECH), extra_body={"chunking_strategy": '{"type": "server_vad"}'}
    )
    assert answer.model_extra["manymodal"]["media"][0]["cache"] == {"transcript": "hit"}


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"response_format": "diarized_json"}, "response_format"),
        ({"include": ["logprobs"]}, "include"),
        ({"include": ["everything"]}, "include[0]"),
        ({"known_speaker_names": ["Ute"]}, "known_speaker_names"),
        ({"known_speaker_references": ["data:audio/wav;base64,AA"]}, "known_speaker_references"),
        ({"extra_body": {"languages": ["de"]}}, "languages"),
        ({"extra_body": {"keywords": ["Ute"]}}, "keywords"),
        ({"chunking_strategy": "never"}, "chunking_strategy"),
        ({"chunking_strategy": {"type": "server_vad", "threshold": 2}}, "chunking_strategy.threshold"),
        ({"chunking_strategy": {"type": "other"}}, "chunking_strategy.type"),
        ({"extra_body": {"chunking_strategy": "{"}}, None),
    ],
)
async def test_fields_that_are_refused(client, options, param):
    with pytest.raises(openai.BadRequestError) as refused:
        await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", SPEECH), **options)
    assert refused.value.param == param
