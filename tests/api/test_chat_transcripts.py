"""Streams of chat to the letter: tests/golden/chat_streams holds what is sent for requests of each kind.

``[n]`` stands for the random characters of ``obfuscation``, n of them, and ``[file]`` for an id. When a form is
changed on purpose, look at the difference and change the file by hand.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_services import fake_png
from openai_spec import openai_spec

_GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "chat_streams"
_PICTURE = f"data:image/png;base64,{base64.b64encode(fake_png({'cat': 0.9})).decode()}"
_WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
_TOOLS = {"tools": [{"type": "function", "function": _WEATHER}], "tool_choice": "required"}
_USAGE = {"stream_options": {"include_usage": True}}
_ABOUT = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PICTURE}}]}]

CASES: dict[str, dict[str, Any]] = {
    "text": {},
    "bare": {"stream_options": {"include_obfuscation": False}},
    "usage": _USAGE,
    "logprobs": {"logprobs": True, "top_logprobs": 1},
    "tool": {**_TOOLS, **_USAGE},
    "function": {"functions": [_WEATHER], "function_call": {"name": "weather"}},
    "picture": {"messages": _ABOUT, **_USAGE},
    "error": {},
}


async def _stream(http: Any, **fields: Any) -> str:
    body = {"model": "default", "stream": True, "messages": [{"role": "user", "content": "Hi"}], **fields}
    answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    return str(answer.text)


def _settled(stream: str) -> str:
    """Without what differs each time."""
    noiseless = re.sub(r'"obfuscation":"([^"]*)"', lambda found: f'"obfuscation":"[{len(found[1])}]"', stream)
    return re.sub(r"file-[0-9a-f]{32}", "[file]", noiseless)


@pytest.mark.parametrize("name", CASES)
async def test_streams_are_as_written_down(http, platform, name):
    if name == "error":
        platform.engine.error_after = 1
    stream = await _stream(http, **CASES[name])
    assert _settled(stream) == (_GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", [name for name in CASES if name != "error"])
async def test_events_are_as_openai_says(http, name):
    spec = openai_spec()
    *events, done, rest = (await _stream(http, **CASES[name])).split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    ours = ("manymodal", "usage.media", "usage.prompt_tokens_details.video_tokens")
    for event in events:
        chunk = json.loads(event.removeprefix("data: "))
        assert spec.problems("CreateChatCompletionStreamResponse", chunk) == []
        unknown = spec.unknown("CreateChatCompletionStreamResponse", chunk)
        assert [path for path in unknown if not path.startswith(ours)] == []
    assert ("usage" in chunk) == ("usage" in str(CASES[name].get("stream_options")))


@pytest.mark.parametrize("name", ["text", "usage", "tool", "logprobs"])
async def test_the_length_of_an_event_tells_little_of_its_text(http, platform, name):
    platform.engine.words = ("a", "another ", "yet a longer word ", "é")
    events = (await _stream(http, **CASES[name])).split("\n\n")[:-2]
    plain = [event for event in events if '"finish_reason":null' in event]
    assert plain
    assert {len((event + "\n\n").encode()) % 64 for event in plain} == {0}


async def test_a_word_that_looks_like_an_event_is_left_alone(http, platform):
    words = ('data: {"id":', '"logprobs":{"content":', ',"token_ids":null', '"usage":{', "\n\n")
    platform.engine.words = words
    for name in ("usage", "logprobs", "function"):
        events = await _stream(
            http, **{**CASES["usage"], **CASES[name], "functions": None, "function_call": None}
        )
        chunks = [json.loads(event.removeprefix("data: ")) for event in events.split("\n\n")[:-2]]
        said = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
        assert "".join(said) == "".join(words)
