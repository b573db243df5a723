"""The platform on real Ray Serve with real models: the tour, bad input, disconnects, a killed engine."""

from __future__ import annotations

import base64
import io
import json
import time
import wave
from collections.abc import Callable
from pathlib import Path

import httpx
import jsonschema
import openai
import psutil
import pytest
from openai_spec import openai_spec
from PIL import Image
from rich.console import Console

from cluster.conftest import RunningPlatform
from deploy.demo.samples import Samples
from deploy.demo.script import SPEECH_WORDS
from deploy.demo.tour import run_tour

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    # Rich and the client leave sockets to the garbage collector at interpreter exit.
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


def data_url(content_type: str, data: bytes) -> str:
    return f"data:{content_type};base64,{base64.b64encode(data).decode()}"


def image_question(url: str, words: str = "What is this?") -> list[dict[str, object]]:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": words}]
    return [{"role": "user", "content": parts}]


def ask(client: openai.OpenAI, words: str, **options: object) -> str:
    answer = client.chat.completions.create(
        model="default", messages=[{"role": "user", "content": words}], max_tokens=16, **options
    )
    return answer.choices[0].message.content or ""


def running_requests(platform: RunningPlatform) -> float:
    """What vLLM itself says it still works on."""
    lines = httpx.get(f"{platform.base_url}/metrics", timeout=10).text.splitlines()
    values = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("vllm:num_requests_running")]
    assert values, "vLLM's metrics are missing from /metrics"
    return sum(map(float, values))


def eventually(check: Callable[[], bool]) -> None:
    """Return once ``check`` holds; settings of tenants reach a gateway within seconds."""
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_the_tour_passes_cold_and_warm(platform: RunningPlatform, samples: Samples) -> None:
    for _ in ("cold", "warm"):
        printed = io.StringIO()
        run_tour(platform.base_url, samples, Console(file=printed, width=100))
        assert "Every step gave what it must" in printed.getvalue()


def test_a_known_photo_is_not_encoded_again(client: openai.OpenAI, samples: Samples) -> None:
    url = data_url("image/png", samples.pictures["cat"].read_bytes())
    for _ in range(2):
        answer = client.chat.completions.create(model="default", messages=image_question(url), max_tokens=8)
    (medium,) = answer.model_extra["manymodal"]["media"]
    assert medium["kind"] == "image"
    assert set(medium["cache"].values()) == {"hit"}


def test_greedy_answers_repeat_and_usage_counts(client: openai.OpenAI) -> None:
    first = ask(client, "What is the capital of France?", temperature=0)
    assert "Paris" in first
    assert ask(client, "What is the capital of France?", temperature=0) == first
    stream = client.chat.completions.create(
        model="smollm2-135m-instruct",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        max_tokens=16,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == first
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_a_client_that_leaves_stops_its_request(platform: RunningPlatform, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": "Write a very long story about the sea."}],
        max_tokens=2000,
        stream=True,
    )
    for number, _ in enumerate(stream):
        if number == 5:
            break
    stream.close()
    deadline = time.monotonic() + 10
    while running_requests(platform):
        assert time.monotonic() < deadline, "the engine still works for a client that is gone"
        time.sleep(0.2)


def png_of(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def silent_wav(seconds: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * 8000 * seconds)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content_type", "make"),
    [
        ("image/png", lambda samples: b""),
        ("image/png", lambda samples: b"just some words, no picture at all"),
        ("image/jpeg", lambda samples: samples.video.read_bytes()),
        ("image/png", lambda samples: png_of(10_000, 6_000)),
        ("image/png", lambda samples: samples.pictures["cat"].read_bytes()[:2000]),
        ("image/svg+xml", lambda samples: b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    ],
    ids=["empty", "text", "mp4-as-jpeg", "60-megapixels", "truncated", "svg"],
)
def test_bad_pictures_are_the_clients_error(
    client: openai.OpenAI, samples: Samples, content_type: str, make: object
) -> None:
    messages = image_question(data_url(content_type, make(samples)))
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="default", messages=messages)
    assert raised.value.body["message"].endswith(".")
    assert "Paris" in ask(client, "What is the capital of France?", temperature=0)


def test_two_hours_of_silence_are_refused_by_the_header(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="seconds"):
        client.audio.transcriptions.create(model="whisper-1", file=("silence.wav", silent_wav(7200)))


def test_short_silence_is_an_empty_transcript(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(model="whisper-1", file=("silence.wav", silent_wav(5)))
    assert answer.text == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"model":"default"}',
        b'{"model":"default","messages":[{"role":"wizard","content":"x"}]}',
    ],
)
def test_bad_bodies_are_400(platform: RunningPlatform, body: bytes) -> None:
    answer = httpx.post(
        f"{platform.base_url}/v1/chat/completions", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_an_unknown_model_is_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-99", messages=[{"role": "user", "content": "x"}])


def test_real_speech_and_unsupported_files(client: openai.OpenAI, shared_data: Path) -> None:
    speech = shared_data / "speech" / "whisper" / "jfk.mp3"
    answer = client.audio.transcriptions.create(
        model="whisper-1",
        file=speech,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert "ask not what your country can do for you" in answer.text.lower().replace(",", "")
    assert answer.words
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(
            model="whisper-1", file=shared_data / "hard" / "torchcodec-images" / "gradient.png"
        )


def test_what_is_said_is_transcribed_while_it_is_heard(client: openai.OpenAI) -> None:
    sentence = "The first photograph of the evening shows a quiet harbour with seven boats. "
    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input=8 * sentence, speed=1.1)
    assert spoken.response.headers["content-type"] == "audio/mpeg"
    for tier in ("miss", "hit"):
        *deltas, done = client.audio.transcriptions.create(
            model="whisper-1", file=("said.mp3", spoken.content), language="en", stream=True
        )
        assert len(deltas) > 1
        assert {event.type for event in deltas} == {"transcript.text.delta"}
        assert "".join(event.delta for event in deltas) == done.text
        assert done.text.lower().count("seven boats") + done.text.count("7 boats") >= 7
        assert done.model_extra["manymodal"]["media"][0]["cache"] == {"transcript": tier}


def test_a_video_is_analysed_by_its_scenes(platform: RunningPlatform, samples: Samples) -> None:
    with httpx.Client(base_url=platform.base_url, timeout=120) as http:
        for tier in ("miss", "hit"):
            with samples.video.open("rb") as file:
                form = {
                    "prompt": "What is shown?",
                    "frame_sampling": "scene",
                    "max_tokens": "16",
                    "temperature": "0",
                }
                answer = http.post("/v1/video/analyze", files={"video_file": file}, data=form)
            assert answer.status_code == httpx.codes.OK, answer.text
            analysis = answer.json()
            # What is said in it the tour has heard already.
            assert analysis["manymodal"]["media"][0]["cache"]["frames"] == tier
        cat = samples.stretch("cat")
        seen = [
            label["text"]
            for frame in analysis["frames"]
            if cat.start_seconds <= frame["time_seconds"] < cat.end_seconds
            for label in frame["labels"]
        ]
        assert any("cat" in text for text in seen), analysis["frames"]
        assert {frame["reason"] for frame in analysis["frames"]} <= {"scene", "fill"}
        assert analysis["answer"].strip()
        assert analysis["seconds_heard"] == pytest.approx(analysis["duration_seconds"], abs=1)
        body = {"file_id": analysis["video_id"], "frame_sampling": "scene", "stream": True, "max_tokens": 8}
        stream = http.post("/v1/video/analyze", json=body).text
        assert stream.endswith("data: [DONE]\n\n")
        assert '"video_tokens":' in stream


def test_speech_is_written_down_and_asked_about(platform: RunningPlatform, samples: Samples) -> None:
    with httpx.Client(base_url=platform.base_url, timeout=120) as http:

        def understood(**form: str) -> httpx.Response:
            with samples.speech.open("rb") as file:
                answer = http.post("/v1/audio/transcribe", files={"audio_file": file}, data=form)
            assert answer.status_code == httpx.codes.OK, answer.text
            return answer

        said = understood(include_timestamps="true").json()
        assert all(word in said["text"].lower() for word in SPEECH_WORDS)
        assert 0 <= said["words"][0]["start"] < said["words"][-1]["end"] <= said["duration_seconds"] + 1
        assert " --> " in understood(format="srt").text
        answer = understood(prompt="What is this about?", max_tokens="16").json()
        assert answer["answer"].strip()
        assert answer["text"] == said["text"]
        assert answer["manymodal"]["media"][0]["cache"] == {"transcript": "hit"}


def test_a_batch_answers_what_a_request_does(client: openai.OpenAI) -> None:
    questions = [f"What is the capital of {country}?" for country in ("France", "Italy", "Spain")]
    asked = {"model": "default", "max_tokens": 16, "temperature": 0}
    lines = [
        {
            "custom_id": question,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {**asked, "messages": [{"role": "user", "content": question}]},
        }
        for question in questions
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("questions.jsonl", data), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    deadline = time.monotonic() + 60
    while batch.status != "completed" and time.monotonic() < deadline:
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    assert batch.output_file_id, batch
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    said = {one["custom_id"]: one["response"]["body"]["choices"][0]["message"]["content"] for one in answers}
    assert said.keys() == set(questions)
    assert said[questions[0]] == ask(client, questions[0], temperature=0)


def test_texts_and_pictures_are_judged_and_a_policy_holds_on_real_answers(
    platform: RunningPlatform, client: openai.OpenAI, samples: Samples
) -> None:
    photo = data_url("image/jpeg", samples.pictures["cat"].read_bytes())
    judged = client.moderations.create(
        input=[
            {"type": "text", "text": "You are a stupid idiot."},
            {"type": "image_url", "image_url": {"url": photo}},
        ]
    ).results[0]
    assert judged.categories.harassment
    assert not judged.categories.hate
    assert judged.category_scores.sexual < 0.5
    assert judged.category_applied_input_types.sexual == ["image"]
    assert not client.moderations.create(input="The cat sits on the mat.").results[0].flagged

    question: list[dict[str, object]] = [{"role": "user", "content": "Count from one to twenty in words."}]

    def answer(stream: bool) -> tuple[str, str | None]:
        options: dict[str, object] = {
            "model": "default",
            "messages": question,
            "max_tokens": 24,
            "temperature": 0,
        }
        if not stream:
            choice = client.chat.completions.create(**options).choices[0]
            return choice.message.content or "", choice.finish_reason
        chunks = list(client.chat.completions.create(stream=True, **options))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return text, next(chunk.choices[0].finish_reason for chunk in reversed(chunks) if chunk.choices)

    def set_policy(**policy: object) -> None:
        done = httpx.put(f"{platform.base_url}/v1/tenants/default", json={"moderation": policy}, timeout=10)
        assert done.status_code == 200, done.text

    before = answer(stream=True)
    try:
        set_policy(places=["chat_output"], threshold=0.0)  # everything is too much
        eventually(lambda: answer(stream=False) == ("", "content_filter"))
        assert answer(stream=True) == ("", "content_filter")
        eventually(lambda: running_requests(platform) == 0)
        set_policy(places=["chat_input", "chat_output"], threshold=1.0)
        eventually(lambda: answer(stream=False)[1] != "content_filter")
        assert answer(stream=True) == before
    finally:
        set_policy(places=[])


WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "unit": {"type": "string", "enum": ["c", "f"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
RAIN: list[dict[str, object]] = [{"role": "user", "content": "Does it rain in Paris? Answer in JSON."}]


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_that_must_be_called_is_called_as_its_schema_says(
    client: openai.OpenAI, stream: bool
) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    asked = {"model": "default", "messages": RAIN, "tools": TOOLS, "max_tokens": 64, "temperature": 0}
    if stream:
        with client.chat.completions.stream(**asked, tool_choice="required") as events:
            answer = events.get_final_completion()
    else:
        answer = client.chat.completions.create(**asked, tool_choice=named)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    jsonschema.validate(json.loads(call.function.arguments), WEATHER)
    assert answer.choices[0].finish_reason == ("tool_calls" if stream else "stop")


def test_answers_after_a_schema_and_several_at_once(client: openai.OpenAI) -> None:
    spec = openai_spec()
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER, "strict": True}}
    answer = client.chat.completions.create(
        model="default", messages=RAIN, response_format=form, max_tokens=64, temperature=0
    )
    jsonschema.validate(json.loads(answer.choices[0].message.content or ""), WEATHER)
    several = client.chat.completions.with_raw_response.create(
        model="default", messages=RAIN, n=2, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2
    )
    body = json.loads(several.text)
    assert spec.problems("CreateChatCompletionResponse", body) == []
    assert spec.unknown("CreateChatCompletionResponse", body) == set()
    assert [choice["index"] for choice in body["choices"]] == [0, 1]


def test_a_stream_is_as_openai_says(platform: RunningPlatform) -> None:
    spec = openai_spec()
    asked = {"model": "default", "messages": RAIN, "stream": True, "max_tokens": 5, "logprobs": True}
    answer = httpx.post(
        f"{platform.base_url}/v1/chat/completions",
        json={**asked, "stream_options": {"include_usage": True}},
        timeout=60,
    )
    *events, done, _ = answer.text.split("\n\n")
    assert done == "data: [DONE]"
    for event in events:
        chunk = json.loads(event.removeprefix("data: "))
        assert spec.problems("CreateChatCompletionStreamResponse", chunk) == []
        assert spec.unknown("CreateChatCompletionStreamResponse", chunk) == set()
    assert chunk["usage"]["completion_tokens"] == 5


def test_responses_go_on_call_functions_and_stream(client: openai.OpenAI) -> None:
    spec = openai_spec()
    asked = {"model": "default", "max_output_tokens": 64, "temperature": 0}
    first = client.responses.create(**asked, input="My name is Ada. Say hello.")
    with client.responses.stream(**asked, input="What is my name?", previous_response_id=first.id) as events:
        for number, event in enumerate(events):
            assert event.sequence_number == number
        second = events.get_final_response()
    assert second.status in ("completed", "incomplete")
    assert client.responses.retrieve(second.id).output_text == second.output_text != ""
    assert second.usage.input_tokens > first.usage.input_tokens
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
    called = client.responses.with_raw_response.create(
        **asked, input="Does it rain in Paris?", tools=[tool], tool_choice="required"
    )
    body = json.loads(called.text)
    assert spec.problems("Response", body) == []
    (call,) = body["output"]
    jsonschema.validate(json.loads(call["arguments"]), WEATHER)
    for response_id in (first.id, second.id, body["id"]):
        client.responses.delete(response_id)


def test_a_killed_engine_core_is_said_and_replaced(platform: RunningPlatform, client: openai.OpenAI) -> None:
    """Last in this file: the platform needs half a minute to recover."""
    stream = client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": "Write a very long story about the sea."}],
        max_tokens=2000,
        stream=True,
    )
    core = platform.descendant("EngineCore")
    next(iter(stream))
    core.kill()
    with pytest.raises((openai.APIError, httpx.HTTPError)):
        for _ in stream:
            pass
    psutil.wait_procs([core], timeout=10)
    deadline = time.monotonic() + 180
    while not answers_again(client):
        assert time.monotonic() < deadline, "the engine did not come back"
        time.sleep(1)
    platform.wait_until_ready(60)


def answers_again(client: openai.OpenAI) -> bool:
    """Whether a chat succeeds; while the engine restarts it may only fail as a server error."""
    try:
        return "Paris" in ask(client, "What is the capital of France?", temperature=0)
    except openai.InternalServerError:
        return False
