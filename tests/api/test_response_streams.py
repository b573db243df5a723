"""Streams of responses to the letter: tests/golden/response_streams holds what is sent for requests of each kind.

``[n]`` stands for the random characters of ``obfuscation``, n of them; ids and times are put aside. When a form is
changed on purpose, look at the difference and change the file by hand.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from fake_platform import build_platform, http_client, openai_client, serving
from fake_services import fake_png
from fake_store import FakeTroubledStore
from openai_spec import openai_spec

from serving.protocol.response_events import ResponseEvent
from storage.local import LocalObjectStore

_GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "response_streams"
_PICTURE = f"data:image/png;base64,{base64.b64encode(fake_png({'cat': 0.9})).decode()}"
_TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
_ABOUT = [{"role": "user", "content": [{"type": "input_image", "image_url": _PICTURE}]}]

CASES: dict[str, dict[str, Any]] = {
    "text": {},
    "bare": {"stream_options": {"include_obfuscation": False}},
    "logprobs": {"include": ["message.output_text.logprobs"], "top_logprobs": 1},
    "tool": {"tools": [_TOOL], "tool_choice": "required"},
    "picture": {"input": _ABOUT},
    "error": {},
}
OURS = (
    "obfuscation",
    *(f"response.{name}" for name in ("manymodal", "store", "usage.media", "usage.input_tokens_details.")),
)


async def _stream(http: Any, **fields: Any) -> str:
    body = {"model": "default", "stream": True, "input": "Hi", **fields}
    answer = await http.post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    return str(answer.text)


def _events(stream: str) -> list[dict[str, Any]]:
    *events, rest = stream.split("\n\n")
    assert rest == ""
    decoded = []
    for event in events:
        name, data = event.split("\n")
        decoded.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {decoded[-1]['type']}"
    return decoded


def _settled(stream: str) -> str:
    """Without what differs each time."""
    settled = re.sub(r'"obfuscation":"([^"]*)"', lambda found: f'"obfuscation":"[{len(found[1])}]"', stream)
    settled = re.sub(r"\b(resp|msg|fc|file)[_-][0-9a-f]{32,36}", r"[\1]", settled)
    return re.sub(r'"(created_at|completed_at)":\d+', r'"\1":[time]', settled)


@pytest.mark.parametrize("name", CASES)
async def test_streams_are_as_written_down(http, platform, name):
    if name == "error":
        platform.engine.error_after = 1
    stream = await _stream(http, **CASES[name])
    assert _settled(stream) == (_GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", CASES)
async def test_events_are_as_openai_says(http, platform, name):
    if name == "error":
        platform.engine.error_after = 1
    spec = openai_spec()
    events = _events(await _stream(http, **CASES[name]))
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        ResponseEvent.model_validate(event)
        if "response" in event and event["response"]["usage"] is None:
            del event["response"]["usage"]  # null in OpenAI's examples, which its schema does not allow
        schema = _SCHEMAS[event["type"]]
        assert spec.problems(schema, event) == []
        unknown = spec.unknown(schema, event)
        assert [path for path in unknown if not path.startswith(OURS)] == []


_SCHEMAS = {
    "response.created": "ResponseCreatedEvent",
    "response.in_progress": "ResponseInProgressEvent",
    "response.output_item.added": "ResponseOutputItemAddedEvent",
    "response.output_item.done": "ResponseOutputItemDoneEvent",
    "response.content_part.added": "ResponseContentPartAddedEvent",
    "response.content_part.done": "ResponseContentPartDoneEvent",
    "response.output_text.delta": "ResponseTextDeltaEvent",
    "response.output_text.done": "ResponseTextDoneEvent",
    "response.function_call_arguments.delta": "ResponseFunctionCallArgumentsDeltaEvent",
    "response.function_call_arguments.done": "ResponseFunctionCallArgumentsDoneEvent",
    "response.completed": "ResponseCompletedEvent",
    "response.failed": "ResponseFailedEvent",
    "error": "ResponseErrorEvent",
}


async def test_the_client_collects_what_is_stored(client):
    async with client.responses.stream(model="default", input="Hi") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert "".join(deltas) == final.output_text == "A cat sits."
    assert (await client.responses.retrieve(final.id)).output_text == "A cat sits."
    again = await client.responses.create(
        model="default", input="?", previous_response_id=final.id, stream=True
    )
    assert [event.type async for event in again][-1] == "response.completed"


async def test_whole_and_streamed_are_the_same(http):
    for name in ("text", "tool", "picture", "logprobs"):
        whole = await http.post("/v1/responses", json={"model": "default", "input": "Hi", **CASES[name]})
        streamed = json.dumps(_events(await _stream(http, **CASES[name]))[-1]["response"])
        assert _comparable(whole.text) == _comparable(streamed)


def _comparable(encoded: str) -> Any:
    fields = json.loads(re.sub(r"\b(resp|msg|fc)_[0-9a-f]{32,36}", r"\1", encoded))
    fields.pop("created_at")
    fields.pop("completed_at")
    fields["usage"].pop("media", None)  # the second look finds everything in the cache
    for medium in fields.get("manymodal", {}).get("media", ()):
        medium.pop("cache")
    return fields


async def test_a_failed_response_is_kept_as_failed(client, platform):
    platform.engine.error_after = 1
    stream = await client.responses.create(model="default", input="Hi", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert "10.0.0.3" not in "".join(event.to_json() for event in events)
    kept = await client.responses.retrieve(events[-1].response.id)
    assert (kept.status, kept.error.code) == ("failed", "server_error")


async def test_refusals_before_the_stream_are_plain_errors(client, platform):
    platform.engine.refusal = (400, {"message": "This model's maximum context length is 2048 tokens."})
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="default", input="Hi", stream=True)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")


async def test_what_cannot_be_stored_is_not_completed(tmp_path, config):
    store = FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))
    platform = build_platform(tmp_path, config, store)
    store.fails = lambda operation, key: operation == "put" and key.startswith("responses/")
    async with http_client(platform) as http:
        events = _events(await _stream(http))
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2]["code"] == "store_unavailable"


def _wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline, "did not happen within 10 seconds"
        time.sleep(0.01)


async def test_a_client_that_leaves_stops_the_engine_and_nothing_is_kept(platform):
    platform.engine.stall_after = 1
    with serving(platform) as url:
        async with openai_client(httpx2.AsyncClient(), f"{url}/v1") as client:
            stream = await client.responses.create(model="default", input="Hi", stream=True)
            async for event in stream:
                if event.type == "response.output_text.delta":
                    break
            await stream.close()
        await asyncio.to_thread(_wait_until, lambda: platform.engine.running == 0)
    assert platform.stored_keys("responses/") == []
